"""One round: a small world, lives that are killed, lives until it is quiet, and a verdict."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from audio_extract.emulator import EmulatorServer
from audio_extract.emulator.faults import Action, Answer, LoseAnswer, Reset, Truncate
from audio_extract.ffmpeg import find_ffmpeg
from audio_extract.tracker.states import Event, State
from chaos.judge import Destination, judge
from chaos.points import PRELUDES
from chaos.victims import LIFE_SECONDS, Killer, Victims, left_after
from chaos.watched import WatchedDrive, WatchedStorage
from support.databases import postgresql_server, run_sql
from support.engine import make_recording

BUCKET = "audio"
DESTINATIONS = ("bucket", "folder", "mount")
START = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
#: Longer than any wait of the retry policy.
LATER = timedelta(days=2)
#: Lives until nothing is due.
MOST_LIVES = 6
#: What transient faults there are, and for which requests.
FAULTS: tuple[tuple[str, Action], ...] = (
    ("drive.media", Answer(reason="backendError")),
    ("drive.media", Reset(after_bytes=20_000)),
    ("drive.media", Truncate(after_bytes=20_000)),
    ("drive.changes", Answer(reason="backendError")),
    ("storage.upload_start", LoseAnswer()),
    ("storage.upload_chunk", Answer(reason="backendError")),
    ("storage.upload_chunk", LoseAnswer()),
    ("storage.upload_chunk", Reset(side="request", after_bytes=20_000)),
)


#: What some rounds make beside the audio.
PLAIN = {"name": "plain", "codec": "wav", "sample_rate": 8_000}
PARTS = {**PLAIN, "name": "parts", "chunks": {"duration_seconds": 2}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens in a round.

    Attributes:
        points: Where its first lives are killed, one after the other; None: at a random moment.
        database: ``sqlite`` or ``postgresql``.
        destination: ``bucket``, ``folder``, or ``mount``: a folder that says it is gcsfuse.
        faults: Whether the network fails too.
        trashes: Whether a recording is gone before the service is started again.
        seed: Of everything that is drawn.
        outputs: Whether something is made beside the audio.
    """

    points: tuple[str | None, ...]
    database: str
    destination: str
    faults: bool
    seed: int
    trashes: bool = False
    outputs: bool = False

    def __str__(self) -> str:
        """For a person."""
        points = ", then ".join(point or "a random moment" for point in self.points) or "nothing"
        faults = ", network faults" if self.faults else ""
        gone = ", then a recording is trashed" if self.trashes else ""
        more = ", several outputs" if self.outputs else ""
        return f"{points}{gone} ({self.database}, {self.destination}{faults}{more})"

    def command(self) -> str:
        """How to do it again."""
        points = "".join(f" --at '{point}'" for point in self.points)
        faults = " --faults" if self.faults else ""
        where = f"--database {self.database} --destination {self.destination}"
        gone = " --trashes" if self.trashes else ""
        more = " --outputs" if self.outputs else ""
        return f"--rounds 1 {where}{faults}{gone}{more}{points} --seed {self.seed}"


@dataclass(slots=True)
class Verdict:
    """How a round went.

    Attributes:
        hit: Points at which the process really was killed.
        kills: Lives that were killed, at a point or at a random moment.
        wrong: What was not as it must be; empty when all is well.
    """

    hit: list[str] = field(default_factory=list)
    kills: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Kitchen:
    """What all rounds share.

    Attributes:
        victims: Forks lives.
        recordings: Two good ones.
        directory: For the files of rounds.
        server: The URL of a PostgreSQL server, when one is used.
        sounds: The audio that each recording must give, known after the first round.
    """

    victims: Victims
    recordings: tuple[Path, Path]
    directory: Path
    server: str | None
    sounds: dict[str, bytes] = field(default_factory=dict)
    _databases: Iterator[int] = field(default_factory=count)

    def round(self, plan: Plan) -> Verdict:
        """Carry out a plan, and judge."""
        with TemporaryDirectory(dir=self.directory) as directory:
            return Round(plan, self, Path(directory)).run()

    def database(self, plan: Plan, directory: Path) -> str:
        """An empty database of the plan's kind."""
        if plan.database == "sqlite":
            return str(directory / "audio.db")
        assert self.server is not None
        name = f"chaos_{next(self._databases)}"
        run_sql(self.server, f"CREATE DATABASE {name}")
        return self.server.replace("/postgres?", f"/{name}?")


class Round:
    """Carries out a plan."""

    def __init__(self, plan: Plan, kitchen: Kitchen, directory: Path) -> None:
        self._plan = plan
        self._kitchen = kitchen
        self._directory = directory
        self._random = Random(plan.seed)  # noqa: S311 - the same again for the same plan
        self._verdict = Verdict()
        self._now = START
        self._life_name = f"{os.getpid()}-{plan.seed}"
        self._temporary = directory / "temporary"
        self._folder = directory / "audio"
        self._mountinfo = directory / "mountinfo"
        self._patterns: list[str] = []
        self._files: dict[str, str] = {}
        #: What becomes of the one that is no video.
        self._broken = State.QUARANTINED

    def run(self) -> Verdict:
        """Do it, and judge."""
        self._temporary.mkdir()
        with ExitStack() as stack:
            self._drive = stack.enter_context(EmulatorServer(WatchedDrive()))
            self._storage = stack.enter_context(EmulatorServer(WatchedStorage()))
            self._storage.emulator.create_bucket(BUCKET)
            self._url = self._kitchen.database(self._plan, self._directory)
            self._fill()
            if self._plan.destination == "mount":
                self._folder.mkdir()
                self._mountinfo.write_text(f"1 1 0:1 / {self._folder} rw - fuse.gcsfuse bucket rw\n")
            for point in self._plan.points:
                self._killed_life(point)
            self._until_quiet()
            self._judge()
        return self._verdict

    # What happens.

    def _fill(self) -> None:
        emulator = self._drive.emulator
        self._parent = emulator.add_folder("Meet Recordings")
        created = START - timedelta(days=1)
        first, second = self._kitchen.recordings
        contents = {"Alpha": first, "Beta": second, "Broken": b"this is not a video" * 100}
        for name, content in contents.items():
            self._files[name] = emulator.add_file(
                content, name=f"{name}.mp4", parent=self._parent, created_time=created
            )

    def _killed_life(self, point: str | None) -> None:
        name = (point or "").partition(" ")[2]
        prelude = PRELUDES.get(Event(name)) if name in set(Event) else None
        options: dict[str, Any] = {}
        emulator = self._drive.emulator
        match prelude:
            case "killed":
                self._life(point="after claimed")
            case "stopped":
                options["stop"] = True
            case "replaced":
                self._life()
                emulator.update_content(self._files["Broken"], self._kitchen.recordings[0])
                self._broken = State.COMPLETED
            case "trashed":
                self._life()
                emulator.trash(self._files["Broken"])
                self._broken = State.SKIPPED
            case "unwanted" | "wanted_again":
                self._life()
                self._patterns = ["Alpha*", "Beta*"]
                options["full"] = True
                self._broken = State.SKIPPED
                if prelude == "wanted_again":
                    self._life(full=True)
                    self._patterns = []
                    self._broken = State.QUARANTINED
            case "retried" | "asked":
                self._life()
                options |= {"retry": prelude == "retried", "ask": prelude == "asked"}
        if self._plan.faults:
            for kind, action in self._random.sample(FAULTS, 2):
                where = self._drive if kind.startswith("drive") else self._storage
                where.emulator.faults.add(action, kind=kind, after=self._random.randrange(3))
        self._life(point=point, armed=True, at_random=point is None, **options)

    def _life(
        self,
        *,
        point: str | None = None,
        armed: bool = False,
        at_random: bool = False,
        full: bool = False,
        stop: bool = False,
        retry: bool = False,
        ask: bool = False,
    ) -> dict[str, Any] | None:
        """One life; its report, or None when it was killed."""
        job = {
            "life": self._life_name,
            "settings": self._settings(),
            "environ": {"DRIVE_EMULATOR_HOST": self._drive.url, "STORAGE_EMULATOR_HOST": self._storage.url},
            "now": self._now.isoformat(),
            "point": point,
            "mountinfo": str(self._mountinfo) if self._plan.destination == "mount" else None,
            "full": full,
            "stop": stop,
            "retry": retry,
            "ask": ask,
        }
        killer = Killer(point)
        self._drive.emulator.on_point = self._storage.emulator.on_point = killer.reached
        after_seconds = self._random.uniform(0, 0.8) if at_random else None
        killer.begin(self._kitchen.victims.begin(job), after_seconds)
        began = time.monotonic()
        ended = self._kitchen.victims.end()
        killer.end()
        if time.monotonic() - began >= LIFE_SECONDS:
            self._verdict.wrong.append(f"a life did not end within {LIFE_SECONDS:.0f} s")
        if ended["killed"]:
            self._verdict.kills += 1
            if armed and point is not None:
                self._verdict.hit.append(point)
            return None
        answer: dict[str, Any] = ended["answer"] or {"error": "it ended without a word"}
        if "error" in answer:
            self._verdict.wrong.append(f"a life ended with {answer['error']}")
        return answer

    def _until_quiet(self) -> None:
        """Start again until nothing is due; the network is well by then."""
        for server in (self._drive, self._storage):
            server.emulator.faults.clear()
        if self._plan.trashes:
            self._drive.emulator.trash(self._files["Alpha"])
        for path in self._folder.rglob(".*"):
            # As if it had lain there for long: a killed writer elsewhere cannot be told from a slow one.
            os.utime(path, (0, 0))
        for number in range(MOST_LIVES):
            # What the change feed does not tell, such as other selection rules, a full look finds.
            report = self._life(full=number > 0)
            self._now += LATER
            quiet = report is not None and report.get("due") == 0 and not report.get("source_errors")
            if quiet and number > 0:
                return
        self._verdict.wrong.append(f"something is still due after {MOST_LIVES} lives")

    def _settings(self) -> dict[str, Any]:
        bucket = self._plan.destination == "bucket"
        storage: dict[str, Any] = (
            {"type": "gcs", "gcs": {"bucket_name": BUCKET}}
            if bucket
            else {"type": "local", "local": {"path": str(self._folder)}}
        )
        return {
            "google_drive": {
                "recordings_folder_id": self._parent,
                "days_to_look_back": 0,
                "name_patterns": self._patterns,
            },
            "storage": storage,
            "monitoring": {"database_path": self._url},
            "processing": {
                "max_parallel_downloads": 2,
                "temp_directory": str(self._temporary),
                "audio_format": {"sample_rate": 48_000, "channels": 2, "bitrate": "320k"},
                "outputs": [PLAIN, PARTS] if self._plan.outputs else [],
            },
            "transfer": {"range_size_mb": 0.25, "stall_timeout_seconds": 5},
            "upload": {"chunk_size_mb": 0.25},
        }

    def _judge(self) -> None:
        done = {State.COMPLETED}
        gone = {State.COMPLETED, State.SKIPPED} if self._plan.trashes else done
        states = {"Alpha": gone, "Beta": done, "Broken": {self._broken}}
        destination = Destination(
            storage=self._storage.emulator,
            bucket=BUCKET if self._plan.destination == "bucket" else None,
            folder=self._folder,
        )
        expected = {name: (self._files[name], state) for name, state in states.items()}
        wrong = self._verdict.wrong
        sounds, outputs = self._kitchen.sounds, self._plan.outputs
        wrong += judge(self._url, destination, expected, sounds, outputs=outputs)
        wrong += [f"left behind: {path}" for path in self._temporary.iterdir()]
        wrong += [f"still running: {command}" for command in left_after(self._life_name)]


@contextmanager
def kitchen(directory: Path, databases: tuple[str, ...]) -> Iterator[Kitchen]:
    """What rounds share, ended with them."""
    ffmpeg = find_ffmpeg().path
    with ExitStack() as stack:
        server = stack.enter_context(postgresql_server()) if "postgresql" in databases else None
        victims = Victims()
        stack.callback(victims.close)
        found = Kitchen(
            victims=victims,
            recordings=(
                make_recording(directory / "alpha.mp4", ffmpeg, seconds=9),
                make_recording(directory / "beta.mp4", ffmpeg, seconds=7),
            ),
            directory=directory,
            server=server,
        )
        # Nothing is killed here: what comes out is what must come out of every other round.
        first = found.round(
            Plan(points=(), database=databases[0], destination="bucket", faults=False, seed=0)
        )
        if first.wrong:
            raise AssertionError("\n".join(first.wrong))
        yield found
