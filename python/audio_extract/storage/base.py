"""What a destination is: how audio is stored, found again, linked to and logged.

Owns the shapes and the rules for names that all destinations share. File bytes of a transfer never pass here:
the engine writes them itself, to the sink that a destination describes (``engine_sink``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

from audio_extract.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from audio_extract.credentials import TokenProvider
    from audio_extract.engine_types import FileSink, GcsSink

#: Cloud Storage's limit for V4 signatures.
MAX_URL_LIFETIME = timedelta(days=7)
#: Cloud Storage's limit for object names, and a sensible one for paths.
MAX_NAME_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What stands at the destination under a name, as the destination itself reports it.

    Attributes:
        name: The object's name, or the path below the destination folder with ``/``.
        crc32c: Base64 of the big-endian value, as Cloud Storage writes it. Empty in listings of a folder,
            where it would cost reading every file.
        metadata: ``source-id``, ``revision``, ``plan-id`` and more; empty where nothing proves whose it is.
        generation: Of the object in Cloud Storage; None in a folder.
    """

    name: str
    size_bytes: int
    crc32c: str
    metadata: dict[str, str] = field(default_factory=dict)
    generation: int | None = None
    content_type: str | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageCheck:
    """What ``audio-extract check`` says about a destination that works.

    Attributes:
        storage_type: ``gcs`` or ``local``.
        subject: The bucket or folder.
        account: Who writes; None where nobody has to sign in.
        can_sign: Whether :meth:`StorageAdapter.get_url` gives signed URLs. None for a folder.
        notes: What is not wrong, but good to know.
    """

    storage_type: Literal["gcs", "local"]
    subject: str
    account: str | None = None
    can_sign: bool | None = None
    notes: tuple[str, ...] = ()


class StorageAdapter(Protocol):
    """A destination. Methods may be called from several threads.

    All raise subclasses of :class:`~audio_extract.exceptions.AudioExtractError` whose message names the
    setting and the remedy.
    """

    @property
    def storage_type(self) -> Literal["gcs", "local"]:
        """``gcs`` or ``local``, as in the setting ``storage.type``."""
        ...

    def save(
        self, local_path: Path, name: str, *, metadata: Mapping[str, str], content_type: str
    ) -> StoredFile:
        """Store a file under a name that is free; again the same file with the same metadata is no error.

        Raises:
            DestinationExistsError: Something else has the name.
        """
        ...

    def exists(self, name: str) -> bool:
        """Whether something stands under a name."""
        ...

    def stat(self, name: str) -> StoredFile | None:
        """What stands under a name; None: nothing."""
        ...

    def get_url(self, name: str, expires_in: timedelta | None = None, *, as_attachment: bool = False) -> str:
        """A link to what stands under a name, without looking whether something does.

        Args:
            name: The name.
            expires_in: How long it works, at most :data:`MAX_URL_LIFETIME`; by default as configured.
            as_attachment: Whether browsers are to store it under its file name instead of playing it. Only a
                signed link can ask for that.
        """
        ...

    def delete(self, name: str, generation: int | None = None) -> None:
        """Remove what stands under a name.

        Raises:
            NotFoundError: Nothing does.
            DestinationExistsError: Another generation does.
        """
        ...

    def list_files(self, prefix: str = "") -> Iterator[StoredFile]:
        """Everything whose name starts with ``prefix``, by name."""
        ...

    def put_log(self, name: str, document: Mapping[str, Any]) -> StoredFile:
        """Write a JSON document, over one that is there."""
        ...

    def get_log(self, name: str) -> dict[str, Any] | None:
        """Read a JSON document; None: there is none."""
        ...

    def engine_sink(
        self,
        name: str,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        replace: StoredFile | None = None,
    ) -> GcsSink | FileSink:
        """Where the engine writes an audio file.

        Args:
            name: The name, which must be free …
            content_type: Its media type.
            metadata: What says whose it is.
            replace: … or be taken by just this.
        """
        ...

    def remove_abandoned(self) -> int:
        """Remove temporary files that killed processes left; returns how many."""
        ...

    def token_provider(self) -> TokenProvider | None:
        """What the engine asks for access tokens; None where it needs none."""
        ...

    def check(self) -> StorageCheck:
        """Look whether audio can be written and linked to."""
        ...

    def require_readable(self) -> None:
        """Look whether what is stored can be listed.

        Raises:
            ConfigurationError: The bucket or folder is not there, or the mount below it.
            PermissionDeniedError: It may not be listed.
        """
        ...

    def count_requests(self, count: Callable[[str, str | None], None]) -> None:
        """Tell somebody of each call: its outcome (``ok``, ``error``), and an error's code."""
        ...

    def close(self) -> None:
        """Give connections back. Nothing else is called after it."""
        ...


def checked_name(name: str) -> str:
    """A name that is safe in a bucket and in a folder.

    Raises:
        ConfigurationError: It is empty, too long, absolute, or leads out of the destination.
    """
    parts = name.split("/")
    if (
        not name
        or any(part in {"", ".", ".."} for part in parts)
        or any(ord(character) < 32 or ord(character) == 127 for character in name)
    ):
        raise ConfigurationError(
            f"{name!r} cannot be a name at the destination: no part between slashes may be empty, '.' or "
            "'..', and control characters are not allowed. Look at the prefix under 'storage'."
        )
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"{name!r} cannot be a name at the destination: not valid Unicode."
        ) from error
    if size > MAX_NAME_BYTES:
        raise ConfigurationError(
            f"The name {name[:80]!r}… has {size} bytes; a destination takes at most {MAX_NAME_BYTES}. "
            "Choose a shorter prefix under 'storage'."
        )
    return name


def checked_lifetime(expires_in: timedelta) -> timedelta:
    """How long a link may work.

    Raises:
        ConfigurationError: Not positive, or longer than Cloud Storage allows.
    """
    if not timedelta(0) < expires_in <= MAX_URL_LIFETIME:
        raise ConfigurationError(
            f"A link cannot work for {expires_in.total_seconds() / 3600:g} hours: Cloud Storage allows more "
            f"than 0 and at most {MAX_URL_LIFETIME.days * 24}. Change storage.gcs.url_expiration_hours."
        )
    return expires_in
