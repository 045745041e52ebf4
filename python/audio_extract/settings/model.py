"""All settings together, and what follows from several of them.

Owns the rules between keys: which destination is meant, what names begin with, where the database is. It
reads neither files nor the environment (``load.py``).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, PrivateAttr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from audio_extract.settings.access_sections import Security
from audio_extract.settings.base import MIB, Section, key
from audio_extract.settings.processing_sections import Execution, Processing, Transfer, Upload
from audio_extract.settings.service_sections import Behavior, Monitoring, Redis, Telemetry
from audio_extract.settings.source_sections import GoogleDrive, Sources
from audio_extract.settings.storage_sections import Storage, StorageType

_ENVIRONMENTS: Final = {"dev": "development", "stage": "staging", "prod": "production"}
#: The engine's least room for fetched bytes, beside two upload chunks.
_FETCH_ROOM_MB: Final = 2
_PREFIXES: Final = {"development": "dev", "staging": "staging", "production": "prod"}

Environment = Annotated[
    Literal["development", "staging", "production"],
    BeforeValidator(
        lambda value: _ENVIRONMENTS.get(value, value) if isinstance(value, str) else value,
        json_schema_input_type=Literal["development", "staging", "production", "dev", "stage", "prod"],
    ),
]


class Settings(BaseSettings, Section):
    """Every setting. Load it with :func:`audio_extract.settings.load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="AUDIO_EXTRACT__", env_nested_delimiter="__", enable_decoding=False, extra="forbid"
    )

    environment: Environment = key("development", "development, staging or production.")
    google_drive: GoogleDrive = key(GoogleDrive, "Recordings in Google Drive.")
    sources: Sources = key(Sources, "Sources beside Google Drive.")
    processing: Processing = key(Processing, "What is done with a recording.")
    storage: Storage = key(Storage, "Where audio goes.")
    monitoring: Monitoring = key(Monitoring, "What can be seen of the service.")
    behavior: Behavior = key(Behavior, "How the service goes about its work.")
    transfer: Transfer = key(Transfer, "How bytes are fetched.")
    upload: Upload = key(Upload, "How bytes are stored in a bucket.")
    execution: Execution = key(Execution, "Where transfers run.")
    redis: Redis = key(Redis, "A cache of folder listings.")
    telemetry: Telemetry = key(Telemetry, "Traces.")
    security: Security = key(Security, "Who may see and do what.")

    _drive_emulator_host: str | None = PrivateAttr(default=None)
    _storage_emulator_host: str | None = PrivateAttr(default=None)
    _config_path: Path | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what ``load_settings`` gives, and nothing behind its back: it merges the sources itself."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    def with_surroundings(
        self, *, drive_emulator_host: str | None, storage_emulator_host: str | None, config_path: Path | None
    ) -> Settings:
        """Note what is no key of the file; returns these settings."""
        self._drive_emulator_host = drive_emulator_host
        self._storage_emulator_host = storage_emulator_host
        self._config_path = config_path
        return self

    @property
    def drive_emulator_host(self) -> str | None:
        """``http://host:port`` of a Drive emulator, from ``DRIVE_EMULATOR_HOST``: no credentials are used."""
        return self._drive_emulator_host

    @property
    def storage_emulator_host(self) -> str | None:
        """The same of a Cloud Storage emulator, from ``STORAGE_EMULATOR_HOST``."""
        return self._storage_emulator_host

    @property
    def config_path(self) -> Path | None:
        """The file that was read; None when there was none."""
        return self._config_path

    @property
    def storage_type(self) -> StorageType:
        """Where audio goes: what ``storage.type`` says, else what the other keys mean."""
        if self.storage.type is not None:
            return self.storage.type
        if self.processing.use_gcs_api is not None:
            return "gcs" if self.processing.use_gcs_api else "local"
        return "gcs" if self.bucket_name is not None and self.storage_folder is None else "local"

    @property
    def bucket_name(self) -> str | None:
        """The bucket of a ``gcs`` destination."""
        return self.storage.gcs.bucket_name or self.processing.gcs.bucket_name

    @property
    def bucket_credentials_path(self) -> Path | None:
        """The key file for the bucket; None means the credentials of the machine."""
        return self.storage.gcs.credentials_path or self.processing.gcs.credentials_path

    @property
    def storage_folder(self) -> Path | None:
        """The folder of a ``local`` destination."""
        mount = self.storage.gcs_mount
        return (
            self.storage.local.path
            or self.processing.output_directory
            or (mount.mount_point if mount.enabled else None)
        )

    @property
    def _is_mount_point_the_destination(self) -> bool:
        folders = (self.storage.local.path, self.processing.output_directory)
        return self.storage.gcs_mount.enabled and folders == (None, None)

    @property
    def object_prefix(self) -> str:
        """What names at the destination begin with, without slashes at its ends; may be empty."""
        if self.storage_type == "local":
            if self.storage.local.prefix is None and self._is_mount_point_the_destination:
                # The whole bucket, as with a destination of type gcs.
                return _PREFIXES[self.environment]
            return self.storage.local.prefix or ""
        for prefix in (self.storage.gcs.prefix, self.processing.gcs.prefix):
            if prefix is not None:
                return prefix
        return _PREFIXES[self.environment]

    @property
    def database_url(self) -> str:
        """The database as an SQLAlchemy URL. May hold a password: never show it."""
        configured = self.monitoring.database_path
        if configured is not None and "://" in configured:
            scheme, rest = configured.split("://", 1)
            drivers = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
            return f"{drivers.get(scheme, scheme)}://{rest}"
        return f"sqlite:///{self._database_file}"

    @property
    def state_folder(self) -> Path:
        """Where the service keeps what is its own: beside a database that is a file, else the data folder."""
        return self._database_file.parent

    @property
    def _database_file(self) -> Path:
        configured = self.monitoring.database_path
        if configured is None or ("://" in configured and not configured.startswith("sqlite:///")):
            from platformdirs import user_data_path

            return user_data_path("audio-extract") / "audio-extract.db"
        return Path(configured.removeprefix("sqlite:///")).expanduser().absolute()

    @property
    def temp_directory(self) -> Path:
        """Where a recording that cannot be streamed is kept while it is worked on."""
        return (
            self.processing.temp_directory
            or self.google_drive.download_temp_dir
            or Path(tempfile.gettempdir())
        )

    @property
    def range_size_bytes(self) -> int:
        """Size of one fetched range: ``transfer.range_size_mb``, else its earlier form, at most 16 MiB."""
        earlier = self.behavior.download_chunk_size_mb
        if "range_size_mb" in self.transfer.model_fields_set or earlier is None:
            return round(self.transfer.range_size_mb * MIB)
        return max(64 * 1024, round(min(earlier, 16) * MIB))

    @property
    def max_source_bytes(self) -> int | None:
        """Larger recordings are skipped; None takes all."""
        limit = self.processing.max_file_size_mb
        return limit * MIB if limit else None


def contradictions(settings: Settings) -> list[str]:
    """Return what two keys say against each other, one sentence each, naming both."""
    found = []
    wanted = settings.storage.type
    earlier = settings.processing.use_gcs_api
    if wanted is not None and earlier is not None and earlier != (wanted == "gcs"):
        found.append(
            f"storage.type is {wanted}, but processing.use_gcs_api is {str(earlier).lower()}: "
            "remove processing.use_gcs_api (storage.type is its new form)"
        )
    new, old = settings.storage.gcs, settings.processing.gcs
    for name in ("bucket_name", "credentials_path", "prefix"):
        values: list[Any] = [getattr(section, name) for section in (new, old)]
        if None not in values and values[0] != values[1]:
            found.append(
                f"storage.gcs.{name} and processing.gcs.{name} differ: remove processing.gcs.{name} "
                "(the other is its new place)"
            )
    mount = settings.storage.gcs_mount
    if mount.enabled and wanted == "gcs":
        found.append(
            "storage.gcs_mount.enabled is true, but storage.type is gcs: a mounted bucket is written as a "
            "folder; set storage.type to local, or storage.gcs_mount.enabled to false"
        )
    chunks = settings.upload.chunk_size_mb
    outputs = settings.processing.outputs
    cut = [settings.processing.chunks, *(one.chunks for one in outputs)]
    beside = 2 * (len(outputs) + sum(one.are_wanted for one in cut))
    least = 2 * chunks + beside + _FETCH_ROOM_MB
    if least > settings.transfer.memory_limit_mb:
        more = f", {beside} MB for processing.outputs and chunks" if beside else ""
        found.append(
            f"upload.chunk_size_mb is {chunks:g}, so a transfer needs {least:g} MB (two pieces{more} and "
            f"{_FETCH_ROOM_MB} MB to fetch into), more than transfer.memory_limit_mb "
            f"({settings.transfer.memory_limit_mb}): make the first smaller or the second larger"
        )
    email = settings.monitoring.notifications.email
    if email.enabled:
        missing = [
            f"monitoring.notifications.email.{name}"
            for name in ("smtp_host", "from_address", "to_addresses")
            if not getattr(email, name)
        ]
        if missing:
            found.append(
                f"monitoring.notifications.email.enabled is true, but {', '.join(missing)} is not set"
            )
    found.extend(settings.security.contradictions())
    database = settings.monitoring.database_path or ""
    if "://" in database and urlsplit(database).scheme.split("+")[0] not in {
        "sqlite",
        "postgresql",
        "postgres",
    }:
        found.append("monitoring.database_path: expected a file, or a URL that begins with postgresql://")
    elif settings.execution.backend == "procrastinate" and not database.startswith("postgres"):
        found.append(
            "execution.backend is procrastinate, but monitoring.database_path is not a PostgreSQL database: "
            "set it to a URL that begins with postgresql://, or execution.backend to local"
        )
    return found
