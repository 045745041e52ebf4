"""From settings to a destination."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from audio_extract.credentials import CLOUD_PLATFORM, GoogleCredentials
from audio_extract.exceptions import ConfigurationError
from audio_extract.plan import log_name
from audio_extract.storage.gcs import GOOGLE_ENDPOINT, GCSStorageAdapter
from audio_extract.storage.gcs_errors import BUCKET_SETTING
from audio_extract.storage.local import LocalStorageAdapter

if TYPE_CHECKING:
    from audio_extract.settings import Settings
    from audio_extract.storage.base import StorageAdapter


class StorageFactory:
    """Makes the destination that is configured."""

    @staticmethod
    def create(settings: Settings, *, use_fallback: bool = False) -> StorageAdapter:
        """Make the destination; nothing is opened or asked yet.

        Args:
            settings: Say where audio goes.
            use_fallback: Take ``storage.local.fallback_path`` instead of the folder; never done unasked.

        Raises:
            ConfigurationError: The bucket or the folder is missing in the settings.
        """
        if settings.storage_type == "gcs":
            return _bucket(settings)
        return _folder(settings, use_fallback)


def _bucket(settings: Settings) -> GCSStorageAdapter:
    if settings.bucket_name is None:
        raise ConfigurationError(
            f"There is no bucket to store audio in. Set {BUCKET_SETTING}, or storage.type to local."
        )
    credentials = None
    if settings.storage_emulator_host is None:
        credentials = GoogleCredentials(
            key_file=settings.bucket_credentials_path,
            # Also for signing through IAM, which needs more than Cloud Storage's own scopes.
            scopes=(CLOUD_PLATFORM,),
            setting="storage.gcs.credentials_path",
        )
    return GCSStorageAdapter(
        settings.bucket_name,
        credentials=credentials,
        endpoint=settings.storage_emulator_host or GOOGLE_ENDPOINT,
        url_lifetime=timedelta(hours=settings.storage.gcs.url_expiration_hours),
        public_access=settings.storage.gcs.public_access,
        chunk_size_bytes=round(settings.upload.chunk_size_mb * 1024 * 1024),
    )


def _folder(settings: Settings, use_fallback: bool) -> LocalStorageAdapter:
    folder = settings.storage.local.fallback_path if use_fallback else settings.storage_folder
    setting = "storage.local.fallback_path" if use_fallback else "storage.local.path"
    if folder is None:
        raise ConfigurationError(
            f"There is no folder to store audio in. Set {setting}, or storage.type to gcs and "
            f"{BUCKET_SETTING}."
        )
    mount = settings.storage.gcs_mount
    is_on_mount = (
        mount.enabled
        and mount.mount_point is not None
        and folder.absolute().is_relative_to(mount.mount_point.absolute())
    )
    return LocalStorageAdapter(
        folder,
        log_name=lambda name: log_name(name, settings),
        setting=setting,
        must_be_mounted=is_on_mount,
    )
