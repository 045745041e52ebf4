"""Puts the service together from settings, for every command that works on what is due."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audio_extract.cli.invocation import Invocation
    from audio_extract.ffmpeg import FoundFfmpeg
    from audio_extract.jobs.service import Service
    from audio_extract.settings import Settings
    from audio_extract.telemetry.traces import Traces


@contextmanager
def open_service(settings: Settings, *, traces: Traces | None = None) -> Iterator[Service]:
    """Give a service that is ready to start; its database is closed at the end.

    Raises:
        ConfigurationError: Something is not set, or there is no FFmpeg. Nothing was started then.
    """
    from audio_extract import _engine
    from audio_extract.cli.telling import tell
    from audio_extract.jobs.service import Service
    from audio_extract.notify import Notifiers
    from audio_extract.settings import bucket_key_file, drive_key_file, require_destination, require_source
    from audio_extract.sources.factory import build_sources
    from audio_extract.storage.factory import StorageFactory
    from audio_extract.telemetry.metric_export import export_metrics
    from audio_extract.telemetry.metrics import Metrics
    from audio_extract.tracker.tracker import Tracker

    require_source(settings)
    require_destination(settings)
    # Key files are read again when they are replaced; here only to say at once that one is missing.
    if settings.google_drive.recordings_folder_id:
        drive_key_file(settings)
    if settings.storage_type == "gcs":
        bucket_key_file(settings)
    ffmpeg = ffmpeg_finder(settings)
    # A missing program is said at the start, and not once for each recording.
    ffmpeg()
    sources = build_sources(settings)
    storage = StorageFactory.create(settings)
    metrics = Metrics()
    metrics.set_build(version=metadata.version("audio-extract"), engine=_engine.__version__)
    if traces is not None:
        traces.on_export(lambda well: metrics.exported("traces", well=well))
    notifiers = Notifiers.from_settings(settings)
    with ExitStack() as stack:
        stack.callback(
            export_metrics(
                metrics,
                endpoint=settings.telemetry.otlp_metrics_endpoint,
                environment=settings.environment,
                version=metadata.version("audio-extract"),
            )
        )
        stack.callback(notifiers.close)
        tracker = stack.enter_context(Tracker.open(settings))
        queue = tracker.job_queue() if settings.execution.backend == "procrastinate" else None
        if queue is not None:
            queue.prepare()
        service = Service(
            settings,
            tracker=tracker,
            sources=sources,
            storage=storage,
            ffmpeg=ffmpeg,
            traces=traces,
            metrics=metrics,
            on_outcome=(
                (lambda outcome: tell(notifiers, outcome, tracker, storage, settings)) if notifiers else None
            ),
            queue=queue,
        )
        stack.callback(service.close)
        yield service


def ffmpeg_finder(settings: Settings) -> Callable[[], FoundFfmpeg]:
    """Return what finds FFmpeg, looking only once."""
    from audio_extract.ffmpeg import find_ffmpeg

    wanted = settings.processing.ffmpeg
    return cache(lambda: find_ffmpeg(wanted.path, allow_download=wanted.allow_download))


def open_traces(settings: Settings) -> Traces:
    """Return the traces of this process, as settings and environment say."""
    from audio_extract.telemetry.trace_export import configure_traces

    project, token = settings.telemetry.cloud_trace.project, None
    if project is not None:
        from audio_extract.credentials import CLOUD_PLATFORM, GoogleCredentials
        from audio_extract.settings import bucket_key_file

        token = GoogleCredentials(
            key_file=bucket_key_file(settings),
            scopes=(CLOUD_PLATFORM,),
            setting="storage.gcs.credentials_path",
        ).token
    return configure_traces(
        endpoint=settings.telemetry.otlp_endpoint,
        cloud_project=project,
        cloud_token=token,
        environment=settings.environment,
        version=metadata.version("audio-extract"),
    )


def set_up_logs(settings: Settings, invocation: Invocation) -> None:
    """Send logs where settings and flags say."""
    from audio_extract.telemetry.logs import configure_logs

    monitoring = settings.monitoring
    level = "DEBUG" if invocation.verbosity > 0 else monitoring.log_level
    form = invocation.log_format.value if invocation.log_format else monitoring.log_format
    configure_logs(
        level=level,
        # Who wants a quiet terminal still wants to read afterwards what happened.
        console_level="ERROR" if invocation.verbosity < 0 else None,
        console=form if monitoring.log_to_console or invocation.verbosity > 0 else None,
        file=monitoring.log_file,
        file_max_bytes=monitoring.log_max_size_mb * 1024 * 1024,
        file_backups=monitoring.log_backup_count,
    )
