"""From settings to sources."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from audio_extract.exceptions import ConfigurationError
from audio_extract.sources.local import LocalSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.settings import Settings
    from audio_extract.sources.base import Source
    from audio_extract.sources.drive import DriveSource
    from audio_extract.sources.listing_cache import RedisListingCache


def build_sources(
    settings: Settings,
    *,
    sleep: Callable[[float], object] = time.sleep,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Source]:
    """Make the sources that are configured; nothing is opened or asked yet.

    Args:
        settings: Say which.
        sleep: Waits between two attempts of a call; may raise to stop.
        now: Gives the present time.

    Raises:
        ConfigurationError: None is.
    """
    sources: list[Source] = []
    if settings.google_drive.recordings_folder_id:
        sources.append(build_drive_source(settings, sleep=sleep, now=now))
    local = settings.sources.local
    if local.path is not None:
        destination = settings.storage_folder if settings.storage_type == "local" else None
        if destination is not None and destination.absolute() == local.path.absolute():
            raise ConfigurationError(
                f"sources.local.path and the destination are the same folder, {local.path}: what is stored "
                "would be found as new recordings. Set storage.local.path to another folder, or one inside."
            )
        sources.append(
            LocalSource(
                local.path,
                include_subfolders=local.include_subfolders,
                settle_seconds=local.settle_seconds,
                now=now,
                leave_out=() if destination is None else (destination,),
            )
        )
    if not sources:
        raise ConfigurationError(
            "There is nowhere to look for recordings. Set google_drive.recordings_folder_id to the id of a "
            "Drive folder (what follows /folders/ in its address), or sources.local.path to a folder."
        )
    return sources


def build_drive_source(
    settings: Settings,
    *,
    sleep: Callable[[float], object] = time.sleep,
    jitter: Callable[[], float] = random.random,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> DriveSource:
    """Make the Drive source, also without a folder: single files are read by their id.

    With ``DRIVE_EMULATOR_HOST`` nobody signs in, and no key file is opened.
    """
    from audio_extract.credentials import GoogleCredentials
    from audio_extract.sources.drive import DriveSource
    from audio_extract.sources.drive_client import GOOGLE_ENDPOINT, SCOPES, DriveClient

    drive = settings.google_drive
    credentials = None
    if settings.drive_emulator_host is None:
        credentials = GoogleCredentials(
            key_file=drive.service_account_file,
            scopes=SCOPES,
            setting="google_drive.service_account_file",
            impersonate=drive.impersonate_service_account,
            subject=drive.subject,
        )
    client = DriveClient(
        endpoint=settings.drive_emulator_host or GOOGLE_ENDPOINT,
        credentials=credentials,
        sleep=sleep,
        jitter=jitter,
        now=now,
    )
    return DriveSource(
        client,
        drive.recordings_folder_id,
        include_subfolders=drive.include_subfolders,
        cache=listing_cache(settings),
    )


def listing_cache(settings: Settings) -> RedisListingCache | None:
    """Return the cache of listings; None: there is none.

    Raises:
        ConfigurationError: It cannot be used.
    """
    if settings.redis.url is None:
        return None
    try:
        from audio_extract.sources.listing_cache import RedisListingCache

        return RedisListingCache(
            settings.redis.url.get_secret_value(), keep_seconds=settings.redis.listing_seconds
        )
    except ImportError as error:
        message = "redis.url is set, and the package for it is missing: install audio-extract[redis]"
        raise ConfigurationError(message, code="config.invalid") from error
    except ValueError as error:
        # The error's text holds the URL, and that can hold a password.
        message = "redis.url: expected a URL such as redis://localhost:6379/0 or rediss://…"
        raise ConfigurationError(message, code="config.invalid") from error
