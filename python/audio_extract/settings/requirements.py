"""What has to be set for a particular purpose, and whether key files can be used.

Loading asks for nothing: ``list`` or ``config show`` need no folder and no bucket. These checks belong to the
commands that do.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from audio_extract.exceptions import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from audio_extract.settings.model import Settings

#: Key files have some 2.4 KB.
_MAX_KEY_BYTES = 64 * 1024


def require_source(settings: Settings) -> None:
    """Make sure that there is something to watch.

    Raises:
        ConfigurationError: Neither a Drive folder nor a local one is set.
    """
    if settings.google_drive.recordings_folder_id or settings.sources.local.path:
        return
    raise ConfigurationError(
        f"google_drive.recordings_folder_id is not set{_in_file(settings)}, so there is nothing to watch; "
        "set it to the Drive folder's id (what follows /folders/ in its address), in the file or as "
        "AUDIO_EXTRACT__GOOGLE_DRIVE__RECORDINGS_FOLDER_ID, or set sources.local.path to a folder",
        code="config.missing",
    )


def require_destination(settings: Settings) -> None:
    """Make sure that audio has somewhere to go.

    Raises:
        ConfigurationError: The bucket or folder that ``storage.type`` asks for is not set.
    """
    if settings.storage_type == "gcs":
        if settings.bucket_name is None:
            raise ConfigurationError(
                f"storage.gcs.bucket_name is not set{_in_file(settings)}, but storage.type is gcs; "
                "set it to the bucket's name, in the file or as AUDIO_EXTRACT__STORAGE__GCS__BUCKET_NAME",
                code="config.missing",
            )
    elif settings.storage_folder is None:
        raise ConfigurationError(
            f"storage.local.path is not set{_in_file(settings)}, so audio has nowhere to go; "
            "set it to a folder, or set storage.type to gcs and storage.gcs.bucket_name to a bucket",
            code="config.missing",
        )


def drive_key_file(settings: Settings) -> Path | None:
    """Return the key file for Drive; None means the machine's credentials, or an emulator.

    Raises:
        ConfigurationError: ``google_drive.service_account_file`` is set and cannot be used.
    """
    if settings.drive_emulator_host:
        return None
    return _usable(settings.google_drive.service_account_file, "google_drive.service_account_file")


def bucket_key_file(settings: Settings) -> Path | None:
    """Return the key file for the bucket; None means the machine's credentials, or an emulator.

    Raises:
        ConfigurationError: It is set and cannot be used.
    """
    if settings.storage_emulator_host:
        return None
    new = settings.storage.gcs.credentials_path
    name = "storage.gcs.credentials_path" if new else "processing.gcs.credentials_path"
    return _usable(settings.bucket_credentials_path, name)


def _usable(path: Path | None, name: str) -> Path | None:
    if path is None:
        return None
    remedy = (
        "correct the path, or download a key (Google Cloud console › IAM › Service accounts › Keys), or remove "
        "the setting to use the machine's credentials"
    )
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_MAX_KEY_BYTES))
    except OSError as error:
        what = (
            "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )
        raise ConfigurationError(
            f"{name}: the key file {path} {what}; {remedy}", code="config.key_file"
        ) from error
    except ValueError:
        # Neither the text nor its cause: a key file is a secret.
        raise ConfigurationError(
            f"{name}: {path} is not a JSON key file; {remedy}", code="config.key_file"
        ) from None
    if not isinstance(document, dict) or "type" not in document:
        raise ConfigurationError(
            f"{name}: {path} is not a key file of Google; {remedy}", code="config.key_file"
        )
    return path


def _in_file(settings: Settings) -> str:
    return f" in {settings.config_path}" if settings.config_path else " (no settings file was found)"
