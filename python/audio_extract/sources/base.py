"""What a source is: the recordings in it, what changed, and how the engine reads one.

Owns the shapes that every source gives. It does not decide which recordings are wanted (``plan``) and
remembers nothing between two runs (``tracker``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from audio_extract.credentials import TokenProvider
    from audio_extract.engine_types import FileSource, HttpSource
    from audio_extract.exceptions import AudioExtractError
    from audio_extract.sources.folder_watch import FolderWatch

SourceName: TypeAlias = Literal["drive", "local"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One media file in a source, in one revision.

    Attributes:
        source: Which kind of source: ``drive`` or ``local``.
        source_id: Drive's file id, or the path below the source folder with ``/``.
        revision: Which content: Drive's MD5, else its ``headRevisionId``; locally size, mtime and inode.
        name: File name without folders.
        mime_type: As the source says; None where it does not.
        size_bytes: None where the source does not know it yet.
        created_at: With time zone UTC.
        modified_at: With time zone UTC.
        folder_id: The Drive folder or the local folder it was found in.
        md5: Hex.
        sha256: Hex.
        web_link: Page where a person can look at it.
        can_download: False where the owner forbids it.
        settled: Its content is there as a whole; a file that is still being written is not.
        duration_seconds: As the source says; Drive finds it out some time after the upload.
    """

    source: SourceName
    source_id: str
    revision: str
    name: str
    created_at: datetime
    mime_type: str | None = None
    size_bytes: int | None = None
    modified_at: datetime | None = None
    folder_id: str | None = None
    md5: str | None = None
    sha256: str | None = None
    web_link: str | None = None
    can_download: bool = True
    settled: bool = True
    duration_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another file in the folder of a recording.

    Attributes:
        source_id: As of a recording.
        name: File name without folders.
        mime_type: As the source says; None where it does not.
        created_at: With time zone UTC.
        size_bytes: None where the source does not know it, as of documents.
        web_link: Page where a person can look at it.
    """

    source_id: str
    name: str
    mime_type: str | None
    created_at: datetime
    size_bytes: int | None = None
    web_link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is new since a cursor.

    Attributes:
        recordings: New, changed or moved into the source's folders.
        removed: Ids that are gone, trashed or moved away; also of files that were never recordings of ours.
        cursor: Where to go on the next time. Keep it only after the rest was recorded.
        full: This is everything there is, not a difference: what is not named is not there.
        first: These folders were never read before: the cursor was absent, or of other folders.
        kept: The listing is one that was kept a short while ago: who is not named may have come since.
        unseen: Folders below the configured ones, and single files, that could not be looked at: Drive's ids
            or local paths. What stood there may stand there still.
        problems: Configured folders that could not be looked at. The rest was; but what is not named may
            stand there, and the cursor must not be kept.
    """

    recordings: list[Recording] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    cursor: str
    full: bool = False
    first: bool = False
    kept: bool = False
    unseen: frozenset[str] = frozenset()
    problems: tuple[AudioExtractError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCheck:
    """What ``audio-extract check`` says about a source that works.

    Attributes:
        name: ``drive`` or ``local``.
        subject: The folder or folders, as a person calls them.
        account: Who asks; None where nobody has to sign in.
        recordings: How many files stand in the folders, wanted or not.
        newest_at: When the newest of them was made.
    """

    name: str
    subject: str
    account: str | None
    recordings: int
    newest_at: datetime | None = None


#: No text of a meeting is larger.
MOST_TEXT_BYTES: Final = 10_000_000


class Source(Protocol):
    """A place where recordings appear. Methods may be called from several threads."""

    @property
    def name(self) -> SourceName:
        """``drive`` or ``local``: the first half of a recording's identity."""
        ...

    def check(self) -> SourceCheck:
        """Look whether the folders can be read.

        Raises:
            AudioExtractError: By what the caller does next; the message names the setting and the remedy.
        """
        ...

    def list(self) -> Iterator[Recording]:
        """Everything in the folders.

        Raises:
            AudioExtractError: As :meth:`check`.
        """
        ...

    def changes(
        self,
        cursor: str | None,
        *,
        reconcile: bool = False,
        before_listing: Callable[[], object] = lambda: None,
    ) -> Changes:
        """What is new since a cursor; without a cursor, or with one that no longer fits, everything.

        Args:
            cursor: Where the last look ended.
            reconcile: Give everything, whatever the cursor.
            before_listing: Called before everything is listed. What is not in the listing and was known by
                then is gone; what others found in the meantime is not.

        Raises:
            AudioExtractError: As :meth:`check`; of several folders, if none can be looked at.
        """
        ...

    def get(self, source_id: str) -> Recording:
        """One recording as it stands now.

        Raises:
            NotFoundError: It is gone, or the account no longer sees it.
        """
        ...

    def confirm(self, recording: Recording) -> None:
        """Look whether a recording still is the revision that was planned; the engine's ``before_commit``.

        Raises:
            SourceChangedError: It is another one now: plan again.
            NotFoundError: It is gone.
        """
        ...

    def engine_source(self, recording: Recording) -> HttpSource | FileSource:
        """How the engine reads a recording."""
        ...

    def neighbours(self, recording: Recording, title: str) -> Sequence[Neighbour]:
        """Other files in a recording's folder whose names begin with a title.

        Raises:
            AudioExtractError: As :meth:`check`.
        """
        ...

    def text_of(self, neighbour: Neighbour) -> str:
        """What stands in such a file, as text.

        Raises:
            AudioExtractError: It cannot be read, or is larger than any text of a meeting.
        """
        ...

    def token_provider(self) -> TokenProvider | None:
        """What the engine asks for access tokens; None where it needs none."""
        ...

    def count_requests(self, count: Callable[[str, str | None], None]) -> None:
        """Tell somebody of each request: its outcome (``ok``, ``retry``, ``error``), and an error's code."""
        ...

    def watch(self, on_change: Callable[[], object]) -> FolderWatch | None:
        """Hear of changes as they happen; None where only looking tells.

        Args:
            on_change: Called in another thread; must not raise.
        """
        ...

    @property
    def settle_seconds(self) -> float:
        """So long after its last change a file is taken."""
        ...

    def close(self) -> None:
        """Give connections back. Nothing else is called after it."""
        ...
