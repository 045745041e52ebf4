"""The running service of ``run`` and the monitor: schedule, workers, dashboard and probes, until a signal."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager, nullcontext
from importlib import metadata
from typing import TYPE_CHECKING

from audio_extract.cli.assembly import open_service, open_traces, set_up_logs
from audio_extract.cli.interrupt import watching_signals
from audio_extract.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo

    from audio_extract.cli.invocation import Invocation
    from audio_extract.jobs.active import ActiveTransfer
    from audio_extract.jobs.service import Service
    from audio_extract.settings import Settings
    from audio_extract.storage.base import StorageAdapter
    from audio_extract.tracker.values import RecordingRow
    from audio_extract.web.access.policy import Access
    from audio_extract.web.server import WebServer
    from audio_extract.web.view import ActiveView, AudioLocation, ShownSettings

_log = logging.getLogger(__name__)

#: PyInstaller's bootloader forwards signals, so one Ctrl-C may arrive twice.
_SAME_SIGNAL_SECONDS = 1.0
#: Addresses that mean "every one of this machine" → one that a browser can go to.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104


def serve(
    settings: Settings, invocation: Invocation, *, open_browser: bool = False, only_take_jobs: bool = False
) -> None:
    """Run the service until SIGINT or SIGTERM, then drain it. A second signal ends running transfers at once.

    Args:
        settings: The settings.
        invocation: The flags of this call.
        open_browser: Open the dashboard, also where the settings do not say so.
        only_take_jobs: Leave discovery and the schedule to other processes.

    Raises:
        ConfigurationError: Something is not set, or a port is taken. Nothing was started then.
    """
    set_up_logs(settings, invocation)
    supervisor = Supervisor.of(os.environ)
    traces = open_traces(settings)
    with ExitStack() as stack:
        stack.callback(traces.close)
        service = stack.enter_context(open_service(settings, traces=traces))
        access = dashboard_access(settings) if settings.monitoring.enable_dashboard else None
        web = stack.enter_context(web_server(service, access, looks=not only_take_jobs))
        stopping = Stop(service)

        def look() -> None:
            # Without either of them only a new start helps.
            if web.running and service.schedule.running:
                supervisor.lives()

        with watching_signals(stopping.on_signal):
            service.start(only_take_jobs=only_take_jobs)
            try:
                announce(web, invocation, access.start_token if access else None)
                if (open_browser or settings.monitoring.dashboard_open_browser) and "dashboard" in web.ports:
                    open_page(web, invocation)
                supervisor.ready()
                stopping.wait(look)
                supervisor.stopping()
            finally:
                service.stop()
    invocation.say("stopped: nothing was left behind")


class Stop:
    """Waits for the signal to stop, and for one that is meant to hurry."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._first: float | None = None
        self._event = threading.Event()

    def on_signal(self) -> None:
        """A signal arrived."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
            self._event.set()
        elif now - self._first > _SAME_SIGNAL_SECONDS:
            self._service.active.cancel_all()

    def wait(self, on_look: Callable[[], None] = lambda: None) -> None:
        """Return when the first signal has arrived.

        Args:
            on_look: Called some times a second until then, while the service can do its work.

        Raises:
            InternalError: The service cannot do its work any more; whoever supervises it starts it again.
        """
        # With a time limit, so that Python gets to run the handler.
        while not self._event.wait(0.2):
            if (failure := self._service.failure) is not None:
                raise failure
            on_look()


def announce(web: WebServer, invocation: Invocation, start_token: str | None = None) -> None:
    """Say where the pages are.

    Args:
        web: Serves them.
        invocation: The flags of this call.
        start_token: Lets people in until the service stops. Said on stderr and nowhere else.
    """
    for name, port in web.ports.items():
        host = web.host_of(name)
        if name != "dashboard" or start_token is None:
            invocation.say(f"{name}: http://{host}:{port}/")
            continue
        elsewhere = " (from elsewhere: this machine's name in its place)" if host in _EVERYWHERE else ""
        # With -q too: without it nobody could come in.
        print(
            f"{name}: http://{_EVERYWHERE.get(host, host)}:{port}/?token={start_token}{elsewhere}\n"
            "others can reach the page, and security.users is not set: this link, new at each start, lets in",
            file=sys.stderr,
        )


def open_page(web: WebServer, invocation: Invocation) -> None:
    """Open the page in a browser, and say where it is if there is none.

    Without the token of the start: every account of this machine sees what a browser is started with.
    """
    import webbrowser

    host = web.host_of("dashboard")
    address = f"http://{_EVERYWHERE.get(host, host)}:{web.ports['dashboard']}/"

    def open_it() -> None:
        if not webbrowser.open(address):
            invocation.say(f"no browser could be started; the page is at {address}")

    # One that runs in the terminal returns only when it is left.
    threading.Thread(target=open_it, name="browser", daemon=True).start()


def dashboard_access(settings: Settings) -> Access:
    """Return who may come in to the dashboard, as the settings say."""
    from audio_extract.web.access.origin import is_loopback
    from audio_extract.web.access.policy import Access

    return Access(
        settings.security,
        is_reachable=not is_loopback(settings.monitoring.dashboard_host),
        key_path=settings.state_folder / "audio-extract.cookie-key",
    )


@contextmanager
def web_server(
    service: Service, access: Access | None = None, *, looks: bool = True, health_seconds: float = 15
) -> Iterator[WebServer]:
    """Serve dashboard and probes, as the settings say, while the block runs.

    Args:
        service: The service.
        access: Who may come in; None: as the settings say. It is closed at the end.
        looks: Whether it looks for recordings itself, and is not only a worker.
        health_seconds: How often every component is looked at.
    """
    from datetime import timedelta

    from audio_extract.jobs.health import schedule_health
    from audio_extract.sources.factory import listing_cache
    from audio_extract.web.actions import Actions
    from audio_extract.web.components import component_checks
    from audio_extract.web.dashboard import Dashboard
    from audio_extract.web.events import Events
    from audio_extract.web.health import HealthMonitor, Status, overall
    from audio_extract.web.probes import Probes
    from audio_extract.web.server import Listener, WebServer
    from audio_extract.web.traced import TracedRequests

    monitoring = service.settings.monitoring
    cache = listing_cache(service.settings)
    checks = component_checks(
        service.settings,
        service.tracker,
        service.storage,
        redis_version=None if cache is None else cache.version,
        scheduler=lambda: schedule_health(service),
        looks=looks,
    )
    health = HealthMonitor(checks, interval_seconds=health_seconds)

    def measure_health() -> None:
        components = health.components()
        states = {name: one.status is Status.HEALTHY for name, one in components.items()}
        service.metrics.health(states, up=overall(components) is not Status.UNHEALTHY)

    service.metrics.before_gathering(measure_health)

    def activity() -> list[ActiveView]:
        return [active_view(transfer) for transfer in service.active.all()]

    def audio(row: RecordingRow, as_attachment: bool, name: str | None) -> AudioLocation | None:
        return audio_location(service.storage, row, name, as_attachment=as_attachment)

    events = Events(service.tracker, activity, health)
    listeners = []
    if monitoring.enable_dashboard:
        access = access or dashboard_access(service.settings)
        dashboard = Dashboard(
            tracker=service.tracker,
            activity=activity,
            audio=audio,
            health=health,
            metrics=service.metrics,
            events=events,
            actions=Actions(
                service.tracker,
                service.dispatch_soon,
                audio,
                timedelta(hours=service.settings.storage.gcs.url_expiration_hours),
                configured=[one.name for one in service.settings.processing.outputs],
                now=service.now,
            ),
            settings=shown_settings(service.settings),
            version=metadata.version("audio-extract"),
            access=access,
            media_hosts=media_hosts(service.settings),
            trace_url=service.settings.telemetry.trace_url,
            zone=_zone(service.settings),
            now=service.now,
        )
        listeners.append(
            Listener(
                "dashboard",
                TracedRequests(dashboard.app(), service.traces)
                if service.traces.enabled
                else dashboard.app(),
                monitoring.dashboard_host,
                monitoring.dashboard_port,
                "monitoring.dashboard_port",
            )
        )
    if monitoring.enable_health_check:
        listeners.append(
            Listener(
                "health",
                Probes(health, service.metrics).app(),
                monitoring.health_host,
                monitoring.health_port,
                "monitoring.health_port",
            )
        )
    with closing(access) if access else nullcontext(), WebServer(*listeners) as web:
        health.start()
        try:
            yield web
        finally:
            events.close()
            health.stop()


def _zone(settings: Settings) -> tzinfo:
    from zoneinfo import ZoneInfo

    from tzlocal import get_localzone

    name = settings.google_drive.time_zone
    return get_localzone() if name is None else ZoneInfo(name)


def media_hosts(settings: Settings) -> tuple[str, ...]:
    """Return the servers that signed URLs lead to."""
    if settings.storage_type != "gcs":
        return ()
    return (settings.storage_emulator_host or "https://storage.googleapis.com",)


def active_view(transfer: ActiveTransfer) -> ActiveView:
    """Return a running transfer as people see it."""
    from audio_extract.cli.progress import fraction_done, progress_text
    from audio_extract.web.view import ActiveView

    snapshot = transfer.progress.snapshot()
    return ActiveView(
        id=transfer.claim.id,
        name=transfer.claim.name,
        stage=snapshot["stage"],
        fraction=fraction_done(snapshot),
        text=progress_text(snapshot),
        fetched_bytes=snapshot["fetched_bytes"],
        source_size_bytes=snapshot["source_size_bytes"],
        stored_bytes=snapshot["stored_bytes"],
        audio_seconds=snapshot["audio_seconds"],
        elapsed_seconds=snapshot["elapsed_seconds"],
    )


def shown_settings(settings: Settings) -> ShownSettings:
    """Return the settings as the page shows them, without secrets."""
    from audio_extract.settings import masked_dict
    from audio_extract.web.view import ShownSettings

    values = masked_dict(settings)
    general = {name: value for name, value in values.items() if not isinstance(value, dict)}
    sections = {name: value for name, value in values.items() if isinstance(value, dict) and value}
    file = None if settings.config_path is None else str(settings.config_path)
    return ShownSettings(file, {"general": general, **sections})


def audio_location(
    storage: StorageAdapter, row: RecordingRow, name: str | None = None, *, as_attachment: bool = False
) -> AudioLocation | None:
    """Return where a browser gets a recording's audio, or what is stored beside it; None: there is none."""
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    from audio_extract.web.view import AudioLocation

    # What was verified stays where it is while more is made of it.
    stands = row.status == "completed" or row.crc32c is not None
    if not stands or row.storage_path is None or row.storage_type != storage.storage_type:
        return None
    url = storage.get_url(name or row.storage_path, as_attachment=as_attachment)
    parts = urlsplit(url)
    if parts.scheme == "file":
        return AudioLocation(file=Path(unquote(parts.path)))
    return AudioLocation(url=url)
