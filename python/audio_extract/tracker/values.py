"""The values that go into the tracker and come out of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime


class SourceRecording(Protocol):
    """A recording as a source lists it (`audio_extract.sources.base.Recording`)."""

    @property
    def source(self) -> str:
        """``drive`` or ``local``."""

    @property
    def source_id(self) -> str:
        """Its id within the source."""

    @property
    def revision(self) -> str:
        """Which content of it."""

    @property
    def name(self) -> str:
        """The file's name."""

    @property
    def mime_type(self) -> str | None:
        """The media type the source gives."""

    @property
    def size_bytes(self) -> int | None:
        """The file's size."""

    @property
    def created_at(self) -> datetime:
        """When it was recorded."""

    @property
    def modified_at(self) -> datetime | None:
        """When it was last changed."""

    @property
    def folder_id(self) -> str | None:
        """The folder it lies in."""

    @property
    def md5(self) -> str | None:
        """Hex."""

    @property
    def sha256(self) -> str | None:
        """Hex."""

    @property
    def web_link(self) -> str | None:
        """Where people look at it."""

    @property
    def settled(self) -> bool:
        """Whether it is no longer being written."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What `record` did.

    Attributes:
        new: Seen for the first time.
        changed: Known, with another revision than before.
        known: Known as they are.
        skipped: Of all these, the ones the selection rules did not want.
        refused: Source ids too long for a database index (2,000 bytes); they were not recorded.
    """

    new: int = 0
    changed: int = 0
    known: int = 0
    skipped: int = 0
    refused: tuple[str, ...] = ()

    def __add__(self, other: Recorded) -> Recorded:
        return Recorded(
            self.new + other.new,
            self.changed + other.changed,
            self.known + other.known,
            self.skipped + other.skipped,
            self.refused + other.refused,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A lease on a recording, and what its holder needs to know of it.

    Attributes:
        id: The recording's id.
        token: Fencing token: grows with each claim, so that an old holder's writes no longer match.
        owner: The holder's name.
        attempt: Which attempt this is, from 1; released and crashed ones do not count.
        object_name: The name decided for the audio, when an earlier attempt decided it.
        expires_at: When the lease ends unless it is renewed.
        transfer_id: The attempt's row in ``transfers``.
        verified: Plan and CRC32C of what an earlier transfer of this revision stored under `object_name`.
        revision: None when only the earlier service knew it, as `created_at`: ask the source first.
        wanted_outputs: What a person asked to have beside the audio, as in ``processing.outputs``.
        output_names: The names that earlier attempts decided for what stands beside the audio, by output.
        was_cut_short: A process died over this content before it was written down as stored.
        waiting_since: When it was discovered; None: a person asked for it, or audio was stored before.
    """

    id: str
    token: int
    owner: str
    attempt: int
    object_name: str | None
    verified: tuple[str, str] | None
    expires_at: datetime
    transfer_id: int
    source: str
    source_id: str
    revision: str | None
    name: str
    mime_type: str | None
    size_bytes: int | None
    created_at: datetime | None
    modified_at: datetime | None
    folder_id: str | None
    md5: str | None
    sha256: str | None
    web_link: str | None
    wanted_outputs: tuple[dict[str, Any], ...] = ()
    output_names: Mapping[str, str] = field(default_factory=dict)
    was_cut_short: bool = False
    waiting_since: datetime | None = None

    def recording_fields(self) -> dict[str, Any]:
        """Return what makes a `sources.base.Recording` of it again, by the names there."""
        return {name: getattr(self, name) for name in RECORDING_FIELDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What stands at the destination.

    Attributes:
        storage_type: ``gcs`` or ``local``.
        storage_path: The object's name, or the file's path.
        storage_url: Where it is without a signature, for example ``gs://bucket/name``.
        size_bytes: As the destination reports it.
        crc32c: Base64 of the big-endian value, as the destination reports it.
        generation: The object's generation.
        content_type: The media type.
        audio_seconds: Length of the audio.
    """

    storage_type: str
    storage_path: str
    storage_url: str | None
    size_bytes: int
    crc32c: str | None
    generation: int | None = None
    content_type: str | None = None
    audio_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """One piece of an audio file that was split."""

    index: int
    object_name: str
    start_seconds: float
    end_seconds: float
    size_bytes: int
    crc32c: str
    silence_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOutput:
    """One more output of a recording, beside its audio.

    Attributes:
        name: What it is called in ``processing.outputs``.
        object_name: Where it stands.
        size_bytes: As the destination reports it.
        crc32c: Base64 of the big-endian value, as the destination reports it.
        chunks: Its pieces, when it was split.
    """

    name: str
    object_name: str
    size_bytes: int
    crc32c: str
    generation: int | None = None
    content_type: str | None = None
    audio_seconds: float | None = None
    chunks: tuple[StoredChunk, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where a recording's audio stands, or what it will be called; None where a value is not known.

    Attributes:
        is_chunk: It is a piece of a recording's audio.
        is_output: It is one more output of it.
        revision: Which content of the recording was stored.
        object_name: The name that was decided; `storage_path` is where something was stored.
    """

    recording_id: str
    is_chunk: bool = False
    is_output: bool = False
    name: str
    state: str
    state_changed_at: datetime
    revision: str | None
    object_name: str | None
    storage_type: str | None
    storage_path: str | None
    size_bytes: int | None
    crc32c: str | None
    generation: int | None


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Names that were decided for what nobody will store under them any more by himself.

    Attributes:
        source_id: Of the recording.
        audio_name: Of its audio.
        names: Of all of it that is not recorded as stored.
    """

    source_id: str
    audio_name: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `recover` did.

    Attributes:
        pending: Ids that are due again.
        quarantined: Ids over which too many processes died.
    """

    pending: tuple[str, ...]
    quarantined: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Milestones:
    """When things last went well; None: never.

    Attributes:
        looked_at: The source that was looked at longest ago was last looked at with success.
        found_at: The newest wanted recording was found.
        stored_at: Audio was last stored.
    """

    looked_at: datetime | None
    found_at: datetime | None
    stored_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRow:
    """One recording as people see it; None where a value is not known."""

    id: str
    name: str
    status: str
    state_reason: str | None
    file_path: str
    source: str
    source_id: str
    revision: str | None
    recorded_at: datetime | None
    discovered_at: datetime | None
    processed_at: datetime | None
    state_changed_at: datetime
    storage_type: str | None
    storage_path: str | None
    storage_url: str | None
    object_name: str | None
    source_size_bytes: int | None
    fetched_bytes: int | None
    stored_size_bytes: int | None
    crc32c: str | None
    generation: int | None
    plan_id: str | None
    audio_seconds: float | None
    elapsed_seconds: float | None
    strategy: str | None
    attempts: int
    crashes: int
    next_attempt_at: datetime | None
    error_code: str | None
    error_kind: str | None
    error_message: str | None
    ffmpeg_tail: str | None
    trace_id: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, newest first; `next_cursor` asks for the next ones and is None at the end."""

    rows: list[RecordingRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How much there is."""

    total: int
    completed: int
    failed: int
    """Failed and quarantined."""
    pending: int
    """Pending and discovered."""
    in_progress: int
    skipped: int
    audio_seconds: float
    """Of the completed ones, as the next two."""
    source_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What ended on one day."""

    day: date
    completed: int
    """Recordings that were stored."""
    failed: int
    """Attempts that failed; one recording may fail several times."""
    audio_seconds: float
    """Length of what was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing that happened to a recording."""

    at: datetime
    recording_id: str | None
    event: str
    from_state: str | None
    to_state: str | None
    actor: str | None
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRun:
    """One run of discovery over one source."""

    source: str
    kind: str
    """``incremental`` or ``full``."""
    started_at: datetime
    ended_at: datetime
    seen: int = 0
    new: int = 0
    changed: int = 0
    skipped: int = 0
    removed: int = 0
    requests: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    trace_id: str | None = None


#: What `Claim` and a source's recording both have.
RECORDING_FIELDS = (
    "source",
    "source_id",
    "revision",
    "name",
    "mime_type",
    "size_bytes",
    "created_at",
    "modified_at",
    "folder_id",
    "md5",
    "sha256",
    "web_link",
)


def row_id(text: str) -> int | None:
    """Return the database's number of an id, or None for what cannot be one."""
    # 18 digits fit into 64 bits, whatever they are.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def file_path(source: str, source_id: str) -> str:
    """Return the ``file_path`` of the earlier service: ``drive://ID``, or the path of a local file."""
    return source_id if source == "local" else f"{source}://{source_id}"


def values_of(value: object) -> dict[str, Any]:
    """Return the fields of a dataclass, not copied."""
    return {item.name: getattr(value, item.name) for item in fields(value)}  # type: ignore[arg-type]
