"""Settings of where recordings come from: ``google_drive`` and ``sources``."""

from __future__ import annotations

from audio_extract.settings.base import ExpandedPath, FolderIds, Section, Texts, TimeZone, key


class GoogleDrive(Section):
    """Recordings in Google Drive."""

    service_account_file: ExpandedPath | None = key(
        None,
        "Key file of a service account. Without it: the credentials of the machine "
        "(GOOGLE_APPLICATION_CREDENTIALS, gcloud, workload identity). A replaced file is picked up.",
    )
    recordings_folder_id: FolderIds = key(
        [],
        "The folder to watch, or a list of folders: what follows /folders/ in its address. "
        "Share it with the service account.",
    )
    subject: str | None = key(
        None, "Act as this user (domain-wide delegation), for folders that are not shared with the account."
    )
    impersonate_service_account: str | None = key(
        None, "Act as this service account, without a key file (IAM: Service Account Token Creator)."
    )
    include_subfolders: bool = key(False, "Also watch the folders inside.")
    name_patterns: Texts = key([], "Only recordings whose name matches one of these, such as '*standup*'.")
    mime_types: Texts = key(["video/*", "audio/*"], "Only files of these kinds.")
    time_zone: TimeZone | None = key(
        None,
        "Time zone of dates in object names. Without it: the time as the recording's name has it, else UTC.",
    )
    check_interval_seconds: int = key(300, "How often to look for new recordings.", ge=1, le=86_400)
    days_to_look_back: int = key(
        7, "Older recordings are left alone when the folder is first read; 0 takes all.", ge=0, le=36_500
    )
    download_temp_dir: ExpandedPath | None = key(
        None, "Earlier name of processing.temp_directory, used where that is absent."
    )


class LocalSource(Section):
    """Recordings in a folder of this machine."""

    path: ExpandedPath | None = key(None, "The folder to watch. Without it there is no local source.")
    include_subfolders: bool = key(True, "Also watch the folders inside.")
    name_patterns: Texts = key([], "Only recordings whose name matches one of these.")
    settle_seconds: float = key(30, "A file is taken once it has not changed for this long.", ge=0, le=86_400)


class Sources(Section):
    """Sources beside Google Drive."""

    local: LocalSource = key(LocalSource, "A folder of this machine.")
