"""A settings file that explains every key: what ``config init`` writes and ``configs/`` holds.

Made from the models, so that a new key cannot be forgotten. Every key stands commented out: as it is, the
file means "all defaults".
"""

from __future__ import annotations

import json
import textwrap
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from audio_extract.settings.model import Settings
from audio_extract.settings.schema import section_of

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

_HEAD: Final = """\
# Settings of audio-extract. Take the # away before a key to set it; what stands behind it is the default, or
# an example where there is no default.
#
# What wins: a flag, then an environment variable (AUDIO_EXTRACT__SECTION__KEY, for example
# AUDIO_EXTRACT__GOOGLE_DRIVE__RECORDINGS_FOLDER_ID), then this file, then the default.
# ${VAR} stands for a variable, ${VAR:-default} for one that may be missing. Keep secrets in variables.
# `audio-extract config show` shows what is in effect, `audio-extract check` whether it works.
"""

#: Of a password that nobody knows.
_HASH: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$djvvtipQ0tvca1u7q54gpA$qvcgfhq2k0KcO8jkpPoBDooJVpTJRjFQDi0b9fwATpI"
)
#: Examples for keys without default.
EXAMPLES: Final[dict[str, Any]] = {
    "google_drive.service_account_file": "~/keys/audio-extract.json",
    "google_drive.recordings_folder_id": "${AUDIO_EXTRACT_FOLDER_ID:-}",
    "google_drive.subject": "organizer@example.com",
    "google_drive.impersonate_service_account": "audio-extract@my-project.iam.gserviceaccount.com",
    "google_drive.time_zone": "Europe/Berlin",
    "google_drive.download_temp_dir": "/tmp/audio-extract",  # noqa: S108 - an example
    "sources.local.path": "~/Recordings",
    "processing.output_directory": "/mnt/audio-extracts/prod",
    "processing.use_gcs_api": True,
    "processing.gcs.bucket_name": "my-bucket",
    "processing.gcs.prefix": "prod",
    "processing.gcs.credentials_path": "~/keys/audio-extract.json",
    "processing.max_file_size_mb": 0,
    "processing.temp_directory": "/var/tmp",  # noqa: S108 - an example
    "processing.audio_format.compression_level": 5,
    "processing.audio_format.normalize": -16,
    "processing.outputs": ["speech"],
    "processing.ffmpeg.path": "/usr/bin/ffmpeg",
    "storage.type": "gcs",
    "storage.local.path": "~/audio",
    "storage.local.fallback_path": "/var/lib/audio-extract/fallback",
    "storage.local.prefix": "prod",
    "storage.gcs.bucket_name": "my-bucket",
    "storage.gcs.prefix": "prod",
    "storage.gcs.credentials_path": "~/keys/audio-extract.json",
    "storage.gcs_mount.bucket_name": "my-bucket",
    "storage.gcs_mount.mount_point": "/mnt/audio-extracts",
    "monitoring.log_file": "logs/audio-extract.log",
    "monitoring.database_path": "data/audio-extract.db",
    "monitoring.notifications.email.smtp_host": "smtp.example.com",
    "monitoring.notifications.email.smtp_user": "audio-extract",
    "monitoring.notifications.email.smtp_password": "${SMTP_PASSWORD:-}",
    "monitoring.notifications.email.from_address": "audio-extract@example.com",
    "monitoring.notifications.pubsub.topic": "projects/my-project/topics/audio",
    "monitoring.notifications.pubsub.credentials_path": "~/keys/audio-extract.json",
    "monitoring.notifications.file.path": "data/events.jsonl",
    "behavior.download_chunk_size_mb": 4,
    "redis.url": "redis://localhost:6379/0",
    "security.username": "ann",
    "security.password_hash": _HASH,
    "security.users": [
        {
            "name": "bob",
            "password_hash": _HASH,
            "role": "viewer",
        }
    ],
    "security.tokens": [
        {
            "name": "grafana",
            "token_sha256": "b67517da82a26198554f0d8b1dd74f0226386606f52ce18943b16e6f909e8e4c",
            "role": "viewer",
        }
    ],
    "security.proxy.networks": ["10.0.0.5"],
    "security.proxy.user_header": "X-Forwarded-Email",
    "security.proxy.iap_audience": "/projects/123/global/backendServices/456",
    "security.proxy.operators": ["ann@example.com"],
    "security.cookie_secret": "${COOKIE_SECRET:-}",
    "security.allowed_hosts": ["audio.example.com"],
    "telemetry.otlp_endpoint": "http://localhost:4318",
    "telemetry.otlp_metrics_endpoint": "http://localhost:4318",
    "telemetry.cloud_trace.project": "my-project",
    "telemetry.trace_url": "http://localhost:16686/trace/{trace_id}",
}


def example_text() -> str:
    """Return the file, explained, with every key commented out."""
    return _HEAD + "".join(_lines(Settings, "", 0))


def _lines(section: type[BaseModel], above: str, depth: int) -> list[str]:
    indent = "  " * depth
    lines: list[str] = []
    for name, info in section.model_fields.items():
        inner = section_of(info)
        if depth == 0:
            lines.append("\n")
        lines.extend(
            f"{indent}# {line}\n" for line in textwrap.wrap(info.description or "", 106 - len(indent))
        )
        if inner is None:
            lines.append(f"{indent}#{name}: {_written(f'{above}{name}', info)}\n")
        elif inner.model_fields:
            lines.append(f"{indent}{name}:\n")
            lines.extend(_lines(inner, f"{above}{name}.", depth + 1))
        else:
            lines.append(f"{indent}{name}: {{}}\n")
    return lines


def _written(dotted: str, info: FieldInfo) -> str:
    value = EXAMPLES[dotted] if dotted in EXAMPLES else info.get_default(call_default_factory=True)
    if isinstance(value, Enum):
        value = value.value
    plain = isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum()
    # JSON is YAML too, and needs no rules about what looks like a number or a date.
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
