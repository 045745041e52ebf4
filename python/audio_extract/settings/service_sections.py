"""Settings of the running service: ``monitoring``, ``behavior``, ``redis``, ``telemetry``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, SecretStr

from audio_extract.settings.base import Cron, ExpandedPath, Section, Texts, key
from audio_extract.settings.hand_over_sections import EventFile, PubSub, Webhook

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(
        lambda value: value.upper() if isinstance(value, str) else value, json_schema_input_type=str
    ),
]


class Email(Section):
    """Notification by e-mail."""

    enabled: bool = key(False, "Send e-mail.")
    smtp_host: str | None = key(None, "The mail server.")
    smtp_port: int = key(587, "Its port.", ge=1, le=65_535)
    smtp_user: str | None = key(None, "The account at the mail server.")
    smtp_password: SecretStr | None = key(None, "Its password; better as ${SMTP_PASSWORD} than as text here.")
    from_address: str | None = key(None, "Sender.")
    to_addresses: Texts = key([], "Recipients.")
    on_failure: bool = key(True, "Send when recordings failed.")
    on_success: bool = key(False, "Send when a recording is done.")
    failure_threshold: int = key(1, "How many failures make a message.", ge=1)


class AppriseSettings(Section):
    """Notification through Apprise: Slack, Discord, Teams, ntfy and many more."""

    urls: list[SecretStr] = key([], "Apprise's URLs; better as ${SLACK_URL} than as text here.")
    on_failure: bool = key(True, "Send when recordings failed.")
    on_success: bool = key(False, "Send when a recording is done.")
    failure_threshold: int = key(1, "How many failures make a message.", ge=1)


class Notifications(Section):
    """Who is told what."""

    email: Email = key(Email, "By e-mail.")
    apprise: AppriseSettings = key(AppriseSettings, "Through Apprise.")
    webhook: Webhook = key(Webhook, "To a program, over HTTP.")
    pubsub: PubSub = key(PubSub, "To programs, through Google Cloud Pub/Sub.")
    file: EventFile = key(EventFile, "To programs on this machine, in a file.")
    links: bool = key(
        False,
        "Put a link to the audio into what programs are told, which whoever reads it can use until it expires"
        " (storage.gcs.url_expiration_hours).",
    )


class Monitoring(Section):
    """What can be seen of the service."""

    enable_dashboard: bool = key(True, "Serve the page.")
    dashboard_host: str = key("127.0.0.1", "Address the page is served on; 0.0.0.0 lets others reach it.")
    dashboard_port: int = key(8080, "Its port; 0 takes a free one.", ge=0, le=65_535)
    dashboard_open_browser: bool = key(False, "Open the page in a browser at start.")
    enable_health_check: bool = key(True, "Serve /health, /ready, /live and /metrics.")
    health_host: str = key("127.0.0.1", "Address they are served on.")
    health_port: int = key(8081, "Their port; 0 takes a free one.", ge=0, le=65_535)
    log_level: LogLevel = key("INFO", "Least level that is logged: DEBUG, INFO, WARNING, ERROR.")
    log_to_console: bool = key(True, "Log to stderr.")
    log_format: Literal["text", "json"] = key("text", "How lines on stderr look.")
    log_file: ExpandedPath | None = key(None, "Also log JSON lines to this file.")
    log_max_size_mb: int = key(100, "Size at which the file is put aside.", ge=1, le=100_000)
    log_backup_count: int = key(10, "How many files that were put aside are kept.", ge=0, le=1_000)
    database_path: str | None = key(
        None,
        "A SQLite file, or a URL such as postgresql://user:${DB_PASSWORD}@host/name. "
        "Without it: audio-extract.db in the account's data folder.",
    )
    notifications: Notifications = key(Notifications, "Who is told what.")


class Behavior(Section):
    """How the service goes about its work."""

    run_mode: str = key("continuous", "Kept for earlier files: once ends after one pass, all else goes on.")
    retry_failed_files: bool = key(True, "Try again what failed for a reason that can pass.")
    retry_attempts: int = key(3, "How often one recording is tried in all.", ge=1, le=100)
    retry_delay_seconds: float = key(
        300, "The first wait between tries; it doubles each time.", ge=0, le=604_800
    )
    new_revisions: Literal["never", "new_object", "replace"] = key(
        "never",
        "When a stored recording gets new content: never (nothing), new_object (store it beside the first), "
        "or replace (store it in the first one's place).",
    )
    reconcile_hours: float = key(
        24, "How often whole folders are compared, beside what the change feed tells.", ge=0.05, le=8_760
    )
    stop_on_error: bool = key(False, "End at the first recording that fails.")
    show_full_traceback: bool = key(False, "Show where in the program an error came from.")
    download_chunk_size_mb: float | None = key(
        None, "Earlier form of transfer.range_size_mb, used where that is absent, at most 16.", gt=0
    )
    cleanup_old_records_days: int = key(
        90, "Details of failed and skipped recordings are removed after this many days; 0 keeps them.", ge=0
    )
    cleanup_schedule: Cron = key("0 2 * * *", "When that is done, as cron writes it.")


class Redis(Section):
    """A cache of folder listings. Without it everything works, only slower."""

    url: SecretStr | None = key(None, "Such as redis://localhost:6379/0.")
    listing_seconds: int = key(300, "How long a listing is kept.", ge=1, le=86_400)


class CloudTrace(Section):
    """Traces into Google Cloud Trace, with the account of the bucket."""

    project: str | None = key(None, "The project they belong to and are billed to; set it to send them.")


class Telemetry(Section):
    """Traces, and metrics beside /metrics. The OTEL_* variables win."""

    otlp_endpoint: str | None = key(
        None,
        "Where traces go (OTLP over HTTP), such as http://localhost:4318.",
        pattern=r"^https?://\S+$",
        expected="a URL such as http://localhost:4318",
    )
    otlp_metrics_endpoint: str | None = key(
        None,
        "Where metrics are sent as well (OTLP over HTTP); /metrics is there in any case.",
        pattern=r"^https?://\S+$",
        expected="a URL such as http://localhost:4318",
    )
    cloud_trace: CloudTrace = key(CloudTrace, "Google Cloud Trace, instead of otlp_endpoint.")
    trace_url: str | None = key(
        None,
        "Where a trace can be looked at, such as http://localhost:16686/trace/{trace_id}; pages link to it.",
        pattern=r"^https?://\S+\{trace_id\}\S*$",
        expected="a URL with {trace_id} in it, such as http://localhost:16686/trace/{trace_id}",
    )
