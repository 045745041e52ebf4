"""The audit: what the database says is stored, compared with what stands at the destination.

The destination is listed once, page by page, into a temporary database on the disk; then the recordings are
read some at a time and looked up there. So memory stays small however much there is, names need no order that
both sides agree on, and no transaction waits for the network. Nothing is changed.

What moved while the listing was read is looked at again, one by one, before it is called a difference.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Literal

from audio_extract import plan
from audio_extract.exceptions import ConfigurationError
from audio_extract.tracker import State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from audio_extract.settings import Settings
    from audio_extract.storage.base import StorageAdapter, StoredFile
    from audio_extract.tracker import Placed, Tracker

Kind = Literal["missing", "different", "extra"]

#: Clocks of several machines differ by less, and no transfer writes down its end later than this.
_UNCERTAIN = timedelta(minutes=10)
_BATCH = 500
#: These will transfer, or adopt what stands under the name that they were given.
_WAITING = frozenset({State.DISCOVERED, State.PENDING, State.IN_PROGRESS, State.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference.

    Attributes:
        kind: ``missing``: recorded, but nothing stands there. ``different``: recorded as something else.
            ``extra``: stands there, and is not recorded.
        name: The object's name, or the path below the folder.
        reason: A stable word: ``gone``, ``size``, ``crc32c``, ``generation``; of extra ones ``foreign``,
            ``forgotten`` (ours, of no recording that is known), ``duplicate`` (of one stored elsewhere) or
            ``unrecorded`` (of one that is not stored, and that nobody tries any more).
        detail: The same for people.
        recording_id: Whose it is; None where it is nobody's.
        recording: That recording's name.
    """

    kind: Kind
    name: str
    reason: str
    detail: str
    recording_id: str | None = None
    recording: str | None = None


@dataclass(slots=True)
class AuditSummary:
    """How much was compared.

    Attributes:
        objects: Stand at the destination, logs not counted.
        recordings: Are completed.
        matching: Recorded objects that stand there as recorded.
        earlier: Objects that hold earlier content of a recording; they are meant to stay.
        waiting: Objects under the name of a recording that is not done yet.
        elsewhere: Completed recordings that are stored in another place than this destination.
        unknown: Completed recordings of the earlier service that do not say where they are stored.
        without_checksum: Matching ones of which only the size was compared.
    """

    objects: int = 0
    recordings: int = 0
    matching: int = 0
    missing: int = 0
    different: int = 0
    extra: int = 0
    earlier: int = 0
    waiting: int = 0
    elsewhere: int = 0
    unknown: int = 0
    without_checksum: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether both sides agree."""
        return not (self.missing or self.different or self.extra)


@dataclass(frozen=True, slots=True)
class _Standing:
    name: str
    size_bytes: int
    crc32c: str
    generation: int | None


class Audit:
    """One comparison; `findings` carries it out, and `summary` counts meanwhile.

    Args:
        tracker: What is recorded.
        storage: What stands there.
        settings: Say which prefix is ours.
        now: When the comparison begins.
        read_files: In a folder, read every recorded file for its checksum. A bucket tells it anyway.
        only_ours: Leave out what others put beside the audio.
    """

    def __init__(
        self,
        tracker: Tracker,
        storage: StorageAdapter,
        settings: Settings,
        *,
        now: datetime,
        read_files: bool = False,
        only_ours: bool = False,
    ) -> None:
        self.summary = AuditSummary()
        self._tracker = tracker
        self._storage = storage
        self._settings = settings
        self._certain_before = now - _UNCERTAIN
        self._read_files = read_files and storage.storage_type == "local"
        self._only_ours = only_ours
        self._prefix = f"{settings.object_prefix}/" if settings.object_prefix else ""

    def findings(self) -> Iterator[Finding]:
        """Compare, and give differences as they are found: those of recordings first, then what is extra.

        Raises:
            AudioExtractError: The destination or the database cannot be read.
        """
        self._storage.require_readable()
        with _Inventory() as inventory:
            logs = plan.log_name("log", self._settings).removesuffix("log.json")
            listed = self._storage.list_files(self._prefix)
            # What ends with a slash is how consoles and mounts show an empty folder.
            audio = (file for file in listed if not file.name.startswith(logs) and file.name[-1:] != "/")
            while batch := list(islice(audio, _BATCH)):
                self.summary.objects += len(batch)
                inventory.add(batch)
            for rows in self._tracker.placed(batch=_BATCH):
                yield from self._compare(rows, inventory)
            yield from self._extra(inventory)

    def _compare(self, rows: list[Placed], inventory: _Inventory) -> Iterator[Finding]:
        names: dict[str, Placed] = {}
        for row in rows:
            done = row.state == State.COMPLETED
            if done and not row.is_chunk and not row.is_output:
                self.summary.recordings += 1
            name = self._place(row) if done else None
            if name is not None:
                names[name] = row
            elif done:
                # Its object name may be one it was given before; what stands there is looked at as extra.
                self.summary.unknown += row.storage_path is None
                self.summary.elsewhere += row.storage_path is not None
        standing = inventory.take(names)
        for name, row in names.items():
            finding = self._judge(row, name, standing.get(name))
            if finding is not None:
                self._count(finding)
                yield finding
        # What a recording had before its content changed stays; what it was promised it may still use.
        kept = {name for row in rows if row.state != State.COMPLETED and (name := self._place(row))}
        promised = {row.object_name for row in rows if row.state in _WAITING and row.object_name}
        self.summary.waiting += len(inventory.take(kept | promised))
        manifests = {f"{name.rpartition('/')[0]}/chunks.json" for name, row in names.items() if row.is_chunk}
        self.summary.matching += len(inventory.take(manifests))

    def _judge(self, row: Placed, name: str, standing: _Standing | None) -> Finding | None:
        if standing is None and not name.startswith(self._prefix):
            standing = self._look(name)
        finding = self._differ(row, name, standing)
        if finding is not None and row.state_changed_at >= self._certain_before:
            now = row if row.is_chunk or row.is_output else self._tracker.placed_one(row.recording_id)
            if now is None or now.state != State.COMPLETED or self._place(now) != name:
                return None
            row, standing = now, self._look(name)
            finding = self._differ(row, name, standing)
        if finding is None and standing is not None and self._read_files and row.crc32c:
            standing = self._look(name)
            finding = self._differ(row, name, standing)
        if finding is None and standing is not None:
            self.summary.matching += 1
            self.summary.without_checksum += not (standing.crc32c and row.crc32c)
        return finding

    def _differ(self, row: Placed, name: str, standing: _Standing | None) -> Finding | None:
        def found(kind: Kind, reason: str, detail: str) -> Finding:
            return Finding(
                kind=kind,
                name=name,
                reason=reason,
                detail=detail,
                recording_id=row.recording_id,
                recording=row.name,
            )

        if standing is None:
            return found("missing", "gone", "nothing stands there")
        # Of what the earlier service stored, nothing but the place is known.
        for word, recorded, there in (
            ("size", row.size_bytes, standing.size_bytes),
            ("crc32c", row.crc32c or None, standing.crc32c or None),
            ("generation", row.generation, standing.generation),
        ):
            if recorded is not None and there is not None and recorded != there:
                return found("different", word, f"{word} {there}, recorded was {recorded}")
        return None

    def _look(self, name: str) -> _Standing | None:
        try:
            file = self._storage.stat(name)
        except ConfigurationError:
            # The earlier service's rows may hold anything; what cannot be a name names nothing.
            return None
        if file is None:
            return None
        return _Standing(file.name, file.size_bytes, file.crc32c, file.generation)

    def _place(self, row: Placed) -> str | None:
        """The name at this destination; None: it is not here, or nobody knows where."""
        path = row.storage_path
        if not path or row.storage_type not in {self._storage.storage_type, None}:
            return None
        if self._storage.storage_type == "gcs":
            bucket = f"gs://{self._settings.bucket_name}/"
            path = path.removeprefix(bucket)
            return None if "://" in path else path
        folder = self._settings.storage_folder
        if path.startswith("/"):
            inside = folder is not None and path.startswith(f"{folder.absolute()}/")
            return path[len(f"{folder.absolute()}/") :] if folder is not None and inside else None
        return path

    def _extra(self, inventory: _Inventory) -> Iterator[Finding]:
        for name, source_id, revision in inventory.left():
            if self._storage.storage_type == "local" and source_id is None:
                source_id, revision = self._proven(name)  # noqa: PLW2901
            if source_id is None:
                if self._only_ours:
                    continue
                finding = Finding(kind="extra", name=name, reason="foreign", detail="somebody else's")
            else:
                row = self._tracker.find(source_id)
                # An id of Drive may look like a number of ours.
                if row is not None and row.source_id != source_id:
                    row = self._tracker.find(f"drive:{source_id}")
                if row is None:
                    finding = Finding(
                        kind="extra",
                        name=name,
                        reason="forgotten",
                        detail=f"ours, of {source_id}, which the database does not know",
                    )
                elif row.storage_path is not None and row.revision != revision:
                    self.summary.earlier += 1
                    continue
                else:
                    where = row.storage_path or "nowhere"
                    finding = Finding(
                        kind="extra",
                        name=name,
                        reason="duplicate" if row.storage_path else "unrecorded",
                        detail=f"ours, of a recording that is {row.status} and stored {where}",
                        recording_id=row.id,
                        recording=row.name,
                    )
            self._count(finding)
            yield finding

    def _count(self, finding: Finding) -> None:
        match finding.kind:
            case "missing":
                self.summary.missing += 1
            case "different":
                self.summary.different += 1
            case "extra":
                self.summary.extra += 1

    def _proven(self, name: str) -> tuple[str | None, str | None]:
        """Whose a file is. It is read only if a processing log claims it."""
        log = self._storage.get_log(plan.log_name(name, self._settings))
        file = self._storage.stat(name) if log is not None else None
        metadata = {} if file is None else file.metadata
        return metadata.get("source-id"), metadata.get("revision")


class _Inventory:
    """What was listed, in a temporary file of SQLite's own, which is gone however this process ends."""

    def __enter__(self) -> Self:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE standing (name BLOB PRIMARY KEY, size INTEGER, crc32c TEXT, generation INTEGER, "
            "source_id TEXT, revision TEXT, is_known INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, files: list[StoredFile]) -> None:
        """Note what is there."""
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT OR REPLACE INTO standing VALUES (?, ?, ?, ?, ?, ?, 0)",
            [
                (
                    _key(file.name),
                    file.size_bytes,
                    file.crc32c,
                    file.generation,
                    file.metadata.get("source-id"),
                    file.metadata.get("revision"),
                )
                for file in files
            ],
        )
        self._database.execute("COMMIT")

    def take(self, names: Collection[str]) -> dict[str, _Standing]:
        """Return what stands under names, and note that these are known."""
        keys = [_key(name) for name in names]
        wanted = f"name IN ({', '.join('?' * len(keys))})"
        found = self._database.execute(
            f"SELECT name, size, crc32c, generation FROM standing WHERE {wanted}",  # noqa: S608
            keys,
        ).fetchall()
        self._database.execute(f"UPDATE standing SET is_known = 1 WHERE {wanted}", keys)  # noqa: S608
        return {_name(row[0]): _Standing(_name(row[0]), *row[1:]) for row in found}

    def left(self) -> Iterator[tuple[str, str | None, str | None]]:
        """Return name, source id and revision of what is not known, by name."""
        query = "SELECT name, source_id, revision FROM standing WHERE is_known = 0 ORDER BY name"
        with closing(self._database.execute(query)) as rows:
            for key, source_id, revision in rows:
                yield _name(key), source_id, revision


def _key(name: str) -> bytes:
    # Names of files need not be UTF-8.
    return name.encode("utf-8", "surrogateescape")


def _name(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")
