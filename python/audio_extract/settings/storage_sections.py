"""Settings of where audio goes: ``storage``."""

from __future__ import annotations

from typing import Literal

from audio_extract.settings.base import Bucket, ExpandedPath, Prefix, Section, Texts, key

StorageType = Literal["local", "gcs"]


class LocalStorage(Section):
    """A folder of this machine, or a mounted bucket."""

    path: ExpandedPath | None = key(None, "The folder audio is stored in.")
    fallback_path: ExpandedPath | None = key(
        None, "A second folder, used only when told to, never by itself."
    )
    prefix: Prefix | None = key(None, "What names below the folder begin with; without it nothing.")


class GcsStorage(Section):
    """A bucket of Cloud Storage."""

    bucket_name: Bucket | None = key(None, "The bucket audio is stored in.")
    prefix: Prefix | None = key(
        None, "What object names begin with; without it dev, staging or prod, by environment."
    )
    credentials_path: ExpandedPath | None = key(
        None,
        "Key file of a service account. Without it: the credentials of the machine "
        "(GOOGLE_APPLICATION_CREDENTIALS, gcloud, workload identity).",
    )
    public_access: bool = key(False, "Links without signature, for a bucket that everybody may read.")
    url_expiration_hours: float = key(24, "How long a signed link works; at most 7 days.", gt=0, le=168)


class GcsMount(Section):
    """A bucket that gcsfuse mounts (in the image)."""

    enabled: bool = key(False, "The bucket is mounted; storage.type is then local.")
    bucket_name: Bucket | None = key(None, "The bucket to mount.")
    mount_point: ExpandedPath | None = key(
        None,
        "Where; also the destination where storage.local.path and processing.output_directory are absent.",
    )
    mount_options: Texts = key([], "Options for gcsfuse.")


class Storage(Section):
    """Where audio goes."""

    type: StorageType | None = key(
        None, "local (a folder) or gcs (a bucket). Without it: gcs where only a bucket is named, else local."
    )
    local: LocalStorage = key(LocalStorage, "A folder.")
    gcs: GcsStorage = key(GcsStorage, "A bucket.")
    gcs_mount: GcsMount = key(GcsMount, "A mounted bucket.")
