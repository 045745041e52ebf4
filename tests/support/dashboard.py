"""A dashboard with probes on loopback, over a real database with recordings that ended well and badly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from audio_extract.exceptions import TransientError
from audio_extract.sources.base import Recording
from audio_extract.telemetry.metrics import Metrics
from audio_extract.tracker import Owner, RecordingRow, RetryPolicy, Stored, Tracker
from audio_extract.web.access.policy import Access
from audio_extract.web.actions import Actions
from audio_extract.web.dashboard import Dashboard
from audio_extract.web.events import Events
from audio_extract.web.health import ComponentHealth, HealthMonitor, Status
from audio_extract.web.probes import Probes
from audio_extract.web.server import Listener, WebServer
from audio_extract.web.view import ActiveView, AudioLocation, ShownSettings

NOW = datetime(2026, 1, 29, 10, 0, tzinfo=UTC)
SETTINGS = {
    "storage": {"type": "gcs", "gcs": {"bucket_name": "audio", "prefix": None}},
    "execution": {"on": True},
}
#: Not valid Unicode, as the name of a local file may be.
HALF = "not UTF-8 \udcff.mp4"
NASTY = '<script>alert("x")</script> & "Wöchentlich" 🎙\n\u202egnp.exe'


def listed(source_id: str, name: str | None = None) -> Recording:
    return Recording(
        source="drive",
        source_id=source_id,
        revision="aa",
        name=name or f"{source_id}.mp4",
        created_at=NOW,
        mime_type="video/mp4",
        size_bytes=1000,
        md5="aa",
    )


def tracked(tracker: Tracker) -> None:
    """Five recordings that were stored, one after another, and one that failed."""
    owner = Owner.current()
    for number in range(5):
        moment = NOW + timedelta(seconds=number)
        tracker.record([listed(f"r{number}")], moment)
        [claim] = tracker.claim(owner, moment)
        stored = Stored(
            storage_type="gcs",
            storage_path=f"dev/2026/01/r{number}_audio.mp3",
            storage_url=f"gs://bucket/dev/2026/01/r{number}_audio.mp3",
            size_bytes=100,
            crc32c="AAAAAA==",
            audio_seconds=3600.0,
        )
        tracker.complete(claim, stored, moment, trace_id=f"{number:032x}")
    before = NOW - timedelta(seconds=1)
    tracker.record([listed("bad", NASTY)], before)
    [claim] = tracker.claim(owner, before)
    tracker.fail(
        claim,
        before,
        code="media.no_audio",
        kind="media",
        message=f"{NASTY} has no sound",
        policy=RetryPolicy(),
    )


def running(fraction: float = 0.25) -> list[ActiveView]:
    return [
        ActiveView(
            id="9",
            name=NASTY,
            stage="transfer",
            fraction=fraction,
            text="1 MB of 4 MB",
            fetched_bytes=1,
            source_size_bytes=4,
            stored_bytes=0,
            audio_seconds=1.0,
            elapsed_seconds=1.0,
        )
    ]


class Shown:
    """A dashboard and probes that listen on loopback."""

    def __init__(self, audio: Path, access: Access | None = None) -> None:
        self.tracker = Tracker.open(str(audio.with_name("tracker.db")))
        tracked(self.tracker)
        self.ids = {row.source_id: row.id for row in self.tracker.listing().rows}
        self._audio = audio
        self.asked: list[str] = []
        self.component = ComponentHealth(Status.HEALTHY, "fine")
        names = ("database", "storage", "drive", "ffmpeg", "temp_storage")
        self.health = HealthMonitor({name: lambda: self.component for name in names})
        self.health.refresh()
        metrics = Metrics()
        self.active = running()
        self.events = Events(self.tracker, lambda: self.active, self.health)
        self._metrics = metrics
        self._access = access or Access()
        self.server = self.listening_on(0)

    def listening_on(self, port: int) -> WebServer:
        """Servers of dashboard and probes that do not listen yet."""
        return WebServer(
            Listener(
                "dashboard",
                Dashboard(
                    tracker=self.tracker,
                    activity=lambda: self.active,
                    audio=self.audio,
                    health=self.health,
                    metrics=self._metrics,
                    events=self.events,
                    actions=Actions(
                        self.tracker,
                        lambda: self.asked.append("due"),
                        self.audio,
                        timedelta(hours=24),
                        now=lambda: NOW,
                    ),
                    settings=ShownSettings("/etc/audio.yaml", SETTINGS),
                    version="1.2.3",
                    trace_url="https://traces.example/trace/{trace_id}?from=page",
                    access=self._access,
                    media_hosts=("https://storage.example",),
                    now=lambda: NOW,
                ).app(),
                "127.0.0.1",
                port,
                "monitoring.dashboard_port",
            ),
            Listener(
                "health",
                Probes(self.health, self._metrics, now=lambda: NOW).app(),
                "127.0.0.1",
                0,
                "monitoring.health_port",
            ),
        )

    def audio_path(self, source_id: str) -> str:
        return f"/recordings/{self.ids[source_id]}/audio"

    def audio(self, row: RecordingRow, as_attachment: bool, name: str | None) -> AudioLocation | None:
        match row.source_id:
            case "r0":
                return AudioLocation(file=self._audio)
            case "r1":
                return AudioLocation(url="https://storage.example/o?X-Goog-Signature=aa")
            case "r2":
                raise TransientError("the bucket does not answer")
            case _:
                return None
