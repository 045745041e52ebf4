"""The emulated Cloud Storage: buckets, objects, permissions, resumable sessions.

Its Python methods are for tests and the demo, which look and change things while the server runs; so
everything locks. The HTTP interfaces are in ``storage/json_api.py`` and ``storage/xml_api.py``.
"""

from __future__ import annotations

import base64
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from audio_extract.emulator.content import Content, as_content, checksums
from audio_extract.emulator.errors import GoogleError
from audio_extract.emulator.storage.objects import Bucket, Preconditions, StoredObject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from audio_extract.emulator.clock import Clock


class StorageState:
    """Everything that stands in the emulated Cloud Storage.

    Args:
        clock: The service's time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._buckets: dict[str, Bucket] = {}
        self._denied: set[str] = set()
        self._last_generation = 0

    # What tests and the demo put there.

    def create_bucket(self, name: str, *, location: str = "EU", storage_class: str = "STANDARD") -> Bucket:
        """Make a bucket.

        Raises:
            GoogleError: 409, there is one of that name.
        """
        with self._lock:
            if name in self._buckets:
                raise GoogleError(
                    "conflict",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                )
            now = self._clock()
            bucket = Bucket(name, now, now, location=location, storage_class=storage_class)
            self._buckets[name] = bucket
            return bucket

    def put_object(
        self,
        bucket: str,
        name: str,
        content: bytes | Path | Content,
        *,
        content_type: str | None = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> StoredObject:
        """Write an object as somebody else would, over one that is there."""
        body = as_content(content)
        sums = checksums(body)
        document = {"contentType": content_type, "metadata": dict(metadata or {})}
        return self.write(bucket, name, body, crc32c=sums.crc32c, md5=sums.md5_base64, document=document)

    def delete_object(self, bucket: str, name: str) -> None:
        """Remove an object.

        Raises:
            GoogleError: 404.
        """
        with self._lock:
            self.object(bucket, name)
            del self.bucket(bucket).objects[name]

    def deny(self, *permissions: str) -> None:
        """Take IAM permissions like ``storage.objects.create`` away from everybody."""
        with self._lock:
            self._denied.update(permissions)

    def allow(self, *permissions: str) -> None:
        """Give permissions back."""
        with self._lock:
            self._denied.difference_update(permissions)

    # What is there.

    def bucket(self, name: str) -> Bucket:
        """A bucket.

        Raises:
            GoogleError: 404.
        """
        with self._lock:
            bucket = self._buckets.get(name)
        if bucket is None:
            raise GoogleError("bucketNotFound")
        return bucket

    def buckets(self) -> list[Bucket]:
        """All buckets, by name."""
        with self._lock:
            return sorted(self._buckets.values(), key=lambda bucket: bucket.name)

    def remove_bucket(self, name: str) -> None:
        """Delete an empty bucket.

        Raises:
            GoogleError: 404; 409, it is not empty.
        """
        with self._lock:
            if self.bucket(name).objects:
                raise GoogleError("conflict", "The bucket you tried to delete is not empty.")
            del self._buckets[name]

    def objects(self, bucket: str, prefix: str = "") -> list[StoredObject]:
        """Objects of a bucket, by name."""
        with self._lock:
            found = [item for name, item in self.bucket(bucket).objects.items() if name.startswith(prefix)]
        return sorted(found, key=lambda item: item.name.encode())

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """An object, or None.

        Raises:
            GoogleError: 404, there is no such bucket.
        """
        with self._lock:
            return self.bucket(bucket).objects.get(name)

    def object(self, bucket: str, name: str, generation: int | None = None) -> StoredObject:
        """An object.

        Raises:
            GoogleError: 404.
        """
        found = self.find(bucket, name)
        if found is None or generation not in {None, found.generation}:
            raise GoogleError("objectNotFound", f"{bucket}/{name}")
        return found

    def permitted(self, permission: str) -> bool:
        """Whether an IAM permission is granted."""
        with self._lock:
            return permission not in self._denied

    def require(self, permission: str) -> None:
        """Let a request pass or not.

        Raises:
            GoogleError: 403.
        """
        if not self.permitted(permission):
            raise GoogleError(
                "forbidden",
                f"The caller does not have {permission} access to the Google Cloud Storage object. "
                f"Permission '{permission}' denied on resource (or it may not exist).",
            )

    # What requests do.

    def write(
        self,
        bucket: str,
        name: str,
        content: Content,
        *,
        crc32c: str,
        md5: str | None,
        document: Mapping[str, Any],
        preconditions: Preconditions | None = None,
        component_count: int | None = None,
    ) -> StoredObject:
        """Make a new generation, if the preconditions hold at this moment.

        Raises:
            GoogleError: 404, there is no such bucket; 412; 400, the metadata is wrong.
        """
        if not name or len(name.encode()) > 1024 or "\r" in name or "\n" in name:
            raise GoogleError("invalid", f"object name {name!r}", location="name")
        with self._lock:
            place = self.bucket(bucket)
            (preconditions or Preconditions()).check(place.objects.get(name))
            now = self._clock()
            self._last_generation = max(self._last_generation + 1, int(now.timestamp() * 1_000_000))
            item = StoredObject(
                bucket=bucket,
                name=name,
                generation=self._last_generation,
                content=content,
                crc32c=crc32c,
                md5=md5,
                created=now,
                updated=now,
                component_count=component_count,
            )
            item.patch(document)
            place.objects[name] = item
            return item

    def patch(
        self,
        item: StoredObject,
        document: Mapping[str, Any],
        preconditions: Preconditions,
        *,
        replace: bool = False,
    ) -> StoredObject:
        """Change metadata: a new metageneration. ``replace`` removes what the document does not name."""
        with self._lock:
            preconditions.check(item)
            (item.replace if replace else item.patch)(document)
            item.metageneration += 1
            item.updated = self._clock()
            return item

    def remove(self, item: StoredObject, preconditions: Preconditions) -> None:
        """Delete the live version, if the preconditions hold at this moment."""
        with self._lock:
            preconditions.check(item)
            with suppress(KeyError):
                del self.bucket(item.bucket).objects[item.name]

    def release(self) -> None:
        """Throw all contents away."""
        with self._lock:
            self._buckets.clear()


def page_token(name: str, is_object: bool) -> str:
    """A list's page token: the last entry of the page, as opaque as Google's."""
    return base64.urlsafe_b64encode(f"{int(is_object)}{name}".encode()).decode()


def page_start(token: str) -> tuple[str, bool]:
    """The entry behind which the next page begins: its name, and whether it is an object.

    Raises:
        GoogleError: 400, it is not a token.
    """
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except ValueError as error:
        raise GoogleError("invalid", token, location="pageToken") from error
    return text[1:], text[:1] == "1"
