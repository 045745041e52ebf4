"""Audio in a bucket of Cloud Storage.

Owns metadata, logs, links and small uploads, through Google's own client. The audio itself is written by the
engine's resumable sessions. Every write carries a generation precondition and a checksum.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode

from audio_extract.exceptions import (
    AudioExtractError,
    ConfigurationError,
    CorruptionError,
    DestinationExistsError,
    NotFoundError,
)
from audio_extract.storage.base import StorageCheck, StoredFile, checked_lifetime, checked_name
from audio_extract.storage.gcs_errors import ANONYMOUS, gcs_errors, not_allowed
from audio_extract.storage.gcs_signing import attachment, sign_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from google.cloud.storage import Blob, Bucket, Client

    from audio_extract.credentials import GoogleCredentials, TokenProvider
    from audio_extract.engine_types import GcsSink

GOOGLE_ENDPOINT = "https://storage.googleapis.com"
_LOG_ATTEMPTS = 5
#: Without the last one, Cloud Storage answers 403 instead of 404 about names that are free.
_NEEDED = {
    "storage.objects.create": "write to",
    "storage.objects.get": "read",
    "storage.objects.list": "list",
}
_USEFUL = {"storage.objects.delete": "the log of a second attempt cannot replace the first one's"}

_log = logging.getLogger(__name__)


class GCSStorageAdapter:
    """A bucket.

    Args:
        bucket: Its name.
        credentials: Who asks; None: nobody in particular, as emulators allow.
        endpoint: ``http(s)://host``, without a path.
        url_lifetime: How long links work unless said otherwise.
        public_access: Everybody may read the bucket: links need no signature.
        chunk_size_bytes: Size of the engine's upload chunks.
        retry_seconds: How long a call is tried again after failures that pass.
    """

    storage_type: Literal["gcs"] = "gcs"

    def __init__(
        self,
        bucket: str,
        *,
        credentials: GoogleCredentials | None,
        endpoint: str = GOOGLE_ENDPOINT,
        url_lifetime: timedelta = timedelta(hours=24),
        public_access: bool = False,
        chunk_size_bytes: int = 8 * 1024 * 1024,
        retry_seconds: float = 120.0,
    ) -> None:
        self.bucket = bucket
        self._credentials = credentials
        self._endpoint = endpoint.rstrip("/")
        self._url_lifetime = checked_lifetime(url_lifetime)
        self._public_access = public_access
        self._chunk_size_bytes = chunk_size_bytes
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._on_request: Callable[[str, str | None], None] = lambda _outcome, _code: None

    def save(
        self, local_path: Path, name: str, *, metadata: Mapping[str, str], content_type: str
    ) -> StoredFile:
        """Store a copy of a file under a free name; the same file with the same metadata may stand there."""
        from audio_extract import _engine

        crc32c, size = _engine.crc32c_file(str(local_path))
        blob = self._bucket().blob(checked_name(name))
        blob.metadata = dict(metadata)
        try:
            with self._failing(name):
                blob.upload_from_filename(
                    str(local_path),
                    content_type=content_type,
                    if_generation_match=0,
                    checksum="crc32c",
                    retry=self._retry(),
                )
        except DestinationExistsError:
            # The answer to an upload that succeeded can be lost; then its repetition finds itself.
            stored = self.stat(name)
            if stored is None or not _is_same(stored, size, crc32c, metadata):
                raise
            return stored
        if (blob.size, blob.crc32c) != (size, crc32c):
            self.delete(name, blob.generation)
            raise CorruptionError(
                f"gs://{self.bucket}/{name} did not arrive as it was sent; it was deleted again.",
                code="destination.checksum_mismatch",
            )
        return _stored(blob)

    def exists(self, name: str) -> bool:
        """Whether an object stands under a name."""
        return self.stat(name) is not None

    def stat(self, name: str) -> StoredFile | None:
        """What stands under a name."""
        blob = self._blob(name)
        return None if blob is None else _stored(blob)

    def get_url(self, name: str, expires_in: timedelta | None = None, *, as_attachment: bool = False) -> str:
        """A link: signed (V4) unless everybody may read the bucket, or nothing can sign at an emulator."""
        lifetime = checked_lifetime(expires_in or self._url_lifetime)
        checked_name(name)
        if self._public_access or self._credentials is None:
            url = f"{self._endpoint}/{self.bucket}/{quote(name, safe='/~')}"
            # Cloud Storage lets nobody choose headers without a signature; an emulator does.
            wish = as_attachment and not self._public_access
            return f"{url}?{urlencode({'response-content-disposition': attachment(name)})}" if wish else url
        # Not counted as a request: with a key of its own nobody is asked.
        with gcs_errors(self.bucket, name, self._credentials):
            return sign_url(
                self._bucket().blob(name),
                self._credentials,
                lifetime,
                self._endpoint,
                as_attachment=as_attachment,
            )

    def delete(self, name: str, generation: int | None = None) -> None:
        """Remove an object: just the generation that was named, else the one that stands there now."""
        if generation is None:
            stored = self.stat(name)
            if stored is None:
                raise NotFoundError(f"There is no gs://{self.bucket}/{name} to delete.", status=404)
            generation = stored.generation
        with self._failing(name):
            self._bucket().blob(checked_name(name)).delete(
                if_generation_match=generation, retry=self._retry()
            )

    def list_files(self, prefix: str = "") -> Iterator[StoredFile]:
        """Everything whose name starts with a prefix, by name."""
        with self._failing(""):
            blobs = self._bucket().client.list_blobs(self.bucket, prefix=prefix or None, retry=self._retry())
            for blob in blobs:
                yield _stored(blob)

    def put_log(self, name: str, document: Mapping[str, Any]) -> StoredFile:
        """Write a JSON document, gzip, over the generation that is there."""
        text = json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        # Without a time in its head, the same document gives the same bytes.
        content = gzip.compress(text.encode("utf-8", "backslashreplace"), mtime=0)
        for attempt in range(1, _LOG_ATTEMPTS + 1):
            current = self.stat(name)
            blob = self._bucket().blob(checked_name(name))
            blob.content_encoding = "gzip"
            try:
                with self._failing(name):
                    blob.upload_from_string(
                        content,
                        content_type="application/json",
                        if_generation_match=0 if current is None else current.generation,
                        checksum="crc32c",
                        retry=self._retry(),
                    )
            except DestinationExistsError:
                # Somebody else wrote in between, or the answer to our own write was lost.
                if attempt == _LOG_ATTEMPTS:
                    raise
            else:
                return _stored(blob)
        raise AssertionError("the loop returns or raises")

    def get_log(self, name: str) -> dict[str, Any] | None:
        """Read a JSON document; None: there is none."""
        blob = self._blob(name)
        if blob is None:
            return None
        try:
            with self._failing(name):
                # As it is stored: the checksum is that of the compressed bytes.
                content = blob.download_as_bytes(raw_download=True, retry=self._retry())
        except NotFoundError:
            return None
        try:
            text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
            document = json.loads(text)
        except (OSError, EOFError, ValueError):
            _log.warning(
                "gs://%s/%s is not JSON: it is taken as absent",
                self.bucket,
                name,
                extra={"event": "storage.log_unreadable"},
            )
            return None
        return document if isinstance(document, dict) else None

    def engine_sink(
        self,
        name: str,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        replace: StoredFile | None = None,
    ) -> GcsSink:
        """Where the engine writes an audio file."""
        return {
            "kind": "gcs",
            "endpoint": self._endpoint,
            "bucket": self.bucket,
            "object": checked_name(name),
            "authenticated": self._credentials is not None,
            "content_type": content_type,
            "metadata": dict(metadata),
            "chunk_size_bytes": self._chunk_size_bytes,
            "if_generation_match": 0 if replace is None else replace.generation,
        }

    def remove_abandoned(self) -> int:
        """An object appears whole or not at all; a session that nobody goes on with ends after a week."""
        return 0

    def token_provider(self) -> TokenProvider | None:
        """What the engine asks for access tokens."""
        return None if self._credentials is None else self._credentials.token

    def check(self) -> StorageCheck:
        """Ask for our permissions, and try to sign."""
        asked = [*_NEEDED, *_USEFUL]
        with self._failing(""):
            granted = set(self._bucket().test_iam_permissions(asked, retry=self._retry()))
        account = ANONYMOUS if self._credentials is None else self._credentials.account
        for permission, what in _NEEDED.items():
            if permission not in granted:
                raise not_allowed(self.bucket, "", account, what)
        notes = [f"without {one}, {result}" for one, result in _USEFUL.items() if one not in granted]
        can_sign = False
        if self._credentials is not None and not self._public_access:
            try:
                self.get_url("check")
                can_sign = True
            except ConfigurationError as error:
                notes.append(error.message)
        return StorageCheck(
            storage_type="gcs",
            subject=f"gs://{self.bucket}",
            account=account,
            can_sign=can_sign,
            notes=tuple(notes),
        )

    def require_readable(self) -> None:
        """Ask for one page of the listing."""
        next(self.list_files(), None)

    def count_requests(self, count: Callable[[str, str | None], None]) -> None:
        """Tell somebody of each call; Google's client tries again by itself, which is not told."""
        self._on_request = count

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _bucket(self) -> Bucket:
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client.bucket(self.bucket)

    def _new_client(self) -> Client:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        # Else the client asks for the bucket itself in a thread of its own, for traces that nobody collects.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return Client(
            project="none",
            credentials=nobody if self._credentials is None else self._credentials.for_client(),
            client_options={"api_endpoint": self._endpoint},
        )

    def _blob(self, name: str) -> Blob | None:
        blob = self._bucket().blob(checked_name(name))
        try:
            with self._failing(name):
                blob.reload(retry=self._retry())
        except NotFoundError:
            return None
        return blob

    def _retry(self) -> Any:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(self._retry_seconds)

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        try:
            with gcs_errors(self.bucket, name, self._credentials):
                yield
        except (NotFoundError, DestinationExistsError):
            # That is an answer.
            self._on_request("ok", None)
            raise
        except AudioExtractError as error:
            self._on_request("error", error.code)
            raise
        self._on_request("ok", None)


def _is_same(stored: StoredFile, size: int, crc32c: str, metadata: Mapping[str, str]) -> bool:
    return (stored.size_bytes, stored.crc32c, stored.metadata) == (size, crc32c, dict(metadata))


def _stored(blob: Blob) -> StoredFile:
    return StoredFile(
        name=str(blob.name),
        size_bytes=int(blob.size or 0),
        crc32c=str(blob.crc32c or ""),
        metadata={str(key): str(value) for key, value in (blob.metadata or {}).items()},
        generation=None if blob.generation is None else int(blob.generation),
        content_type=blob.content_type,
        updated_at=blob.updated,
    )
