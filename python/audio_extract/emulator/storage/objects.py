"""Buckets and objects of the emulated Cloud Storage, their JSON resources, and preconditions on them.

Resources: https://cloud.google.com/storage/docs/json_api/v1/objects and …/buckets; preconditions:
https://cloud.google.com/storage/docs/request-preconditions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from audio_extract.emulator.clock import rfc3339
from audio_extract.emulator.errors import GoogleError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from audio_extract.emulator.content import Content

#: Keys of the JSON resource that a client may set, and the attribute each becomes.
WRITABLE: dict[str, str] = {
    "contentType": "content_type",
    "contentEncoding": "content_encoding",
    "contentDisposition": "content_disposition",
    "contentLanguage": "content_language",
    "cacheControl": "cache_control",
    "customTime": "custom_time",
    "storageClass": "storage_class",
    "metadata": "metadata",
    "temporaryHold": "temporary_hold",
    "eventBasedHold": "event_based_hold",
}


@dataclass
class StoredObject:
    """The live version of one object."""

    bucket: str
    name: str
    generation: int
    content: Content
    crc32c: str
    md5: str | None
    created: datetime
    updated: datetime
    metageneration: int = 1
    content_type: str | None = None
    content_encoding: str | None = None
    content_disposition: str | None = None
    content_language: str | None = None
    cache_control: str | None = None
    custom_time: str | None = None
    storage_class: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    temporary_hold: bool | None = None
    event_based_hold: bool | None = None
    component_count: int | None = None

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.content.size

    @property
    def etag(self) -> str:
        """The JSON API's entity tag: it changes with generation and metageneration."""
        return f"C{self.generation:x}E{self.metageneration:x}="

    @property
    def media_etag(self) -> str:
        """The entity tag of the media."""
        return f'"{self.generation:x}"'

    def read(self) -> bytes:
        """The whole content; for tests with small objects."""
        with self.content.open() as reader:
            return reader.read(0, self.size)

    def replace(self, document: Mapping[str, Any]) -> None:
        """Set what a metadata document names, and remove the rest.

        Raises:
            GoogleError: 400, a value has the wrong type.
        """
        self.patch(dict.fromkeys(WRITABLE))
        self.patch(document)

    def patch(self, document: Mapping[str, Any]) -> None:
        """Set what a metadata document names; null removes a value, in ``metadata`` a key.

        Raises:
            GoogleError: 400, a value has the wrong type.
        """
        for key, attribute in WRITABLE.items():
            if key not in document:
                continue
            value = document[key]
            if key == "metadata":
                self._patch_metadata(value)
            elif value is not None and not isinstance(value, bool if key.endswith("Hold") else str):
                raise GoogleError("invalid", f"{key}: {value!r}")
            else:
                setattr(self, attribute, value)

    def _patch_metadata(self, value: object) -> None:
        if value is None:
            self.metadata = {}
            return
        if not isinstance(value, dict) or not all(
            item is None or isinstance(item, str) for item in value.values()
        ):
            raise GoogleError("invalid", "metadata")
        merged = {**self.metadata, **value}
        self.metadata = {key: item for key, item in merged.items() if item is not None}

    def to_json(self, base_url: str) -> dict[str, Any]:
        """The ``storage#object`` resource."""
        path = f"b/{self.bucket}/o/{quote(self.name, safe='')}"
        resource: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{base_url}/storage/v1/{path}",
            "mediaLink": f"{base_url}/download/storage/v1/{path}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "storageClass": self.storage_class or "STANDARD",
            "size": str(self.size),
            "crc32c": self.crc32c,
            "etag": self.etag,
            "timeCreated": rfc3339(self.created),
            "updated": rfc3339(self.updated),
            "timeStorageClassUpdated": rfc3339(self.created),
            "timeFinalized": rfc3339(self.created),
        }
        optional = {
            "md5Hash": self.md5,
            "contentType": self.content_type,
            "contentEncoding": self.content_encoding,
            "contentDisposition": self.content_disposition,
            "contentLanguage": self.content_language,
            "cacheControl": self.cache_control,
            "customTime": self.custom_time,
            "metadata": dict(self.metadata) or None,
            "temporaryHold": self.temporary_hold,
            "eventBasedHold": self.event_based_hold,
            "componentCount": self.component_count,
        }
        return resource | {key: value for key, value in optional.items() if value is not None}


@dataclass
class Bucket:
    """One bucket with its objects."""

    name: str
    created: datetime
    updated: datetime
    location: str = "EU"
    storage_class: str = "STANDARD"
    metageneration: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    objects: dict[str, StoredObject] = field(default_factory=dict)

    def to_json(self, base_url: str) -> dict[str, Any]:
        """The ``storage#bucket`` resource."""
        resource: dict[str, Any] = {
            "kind": "storage#bucket",
            "id": self.name,
            "selfLink": f"{base_url}/storage/v1/b/{self.name}",
            "projectNumber": "1",
            "name": self.name,
            "timeCreated": rfc3339(self.created),
            "updated": rfc3339(self.updated),
            "metageneration": str(self.metageneration),
            "location": self.location,
            "locationType": "multi-region" if "-" not in self.location else "region",
            "storageClass": self.storage_class,
            "etag": f"CAE{self.metageneration}=",
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
        }
        return resource | ({"labels": dict(self.labels)} if self.labels else {})


@dataclass(frozen=True)
class Preconditions:
    """What must hold for a request to be carried out. Generation 0 stands for "there is no object"."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def of_query(cls, parameters: Mapping[str, str], suffix: str = "") -> Self:
        """Read the JSON API's parameters: ``ifGenerationMatch`` and its kin.

        Args:
            parameters: The request's.
            suffix: Put behind ``if``: ``Source`` for the source of a copy.
        """
        # Google's Python client writes "ifMetaGenerationNotMatch" in uploads.
        values = {name.lower(): value for name, value in parameters.items()}

        def number(name: str) -> int | None:
            return _number(values.get(f"if{suffix}{name}".lower()), f"if{suffix}{name}")

        return cls(
            generation_match=number("GenerationMatch"),
            generation_not_match=number("GenerationNotMatch"),
            metageneration_match=number("MetagenerationMatch"),
            metageneration_not_match=number("MetagenerationNotMatch"),
        )

    @classmethod
    def of_headers(cls, headers: Mapping[str, str]) -> Self:
        """Read the XML API's headers."""
        match = _number(headers.get("x-goog-if-generation-match"), "x-goog-if-generation-match")
        meta = _number(headers.get("x-goog-if-metageneration-match"), "x-goog-if-metageneration-match")
        return cls(generation_match=match, metageneration_match=meta)

    def check(self, found: StoredObject | None, *, reading: bool = False) -> None:
        """Let a request pass or not.

        Args:
            found: What stands under the name.
            reading: For a request that reads, a "not match" that fails means "not modified".

        Raises:
            GoogleError: 412, or 304.
        """
        generation = found.generation if found else 0
        metageneration = found.metageneration if found else None
        if self.generation_match is not None and self.generation_match != generation:
            raise GoogleError("conditionNotMet")
        if self.metageneration_match is not None and self.metageneration_match != metageneration:
            raise GoogleError("conditionNotMet")
        same = self.generation_not_match is not None and self.generation_not_match == generation
        if same or (
            self.metageneration_not_match is not None and self.metageneration_not_match == metageneration
        ):
            raise GoogleError("conditionNotMet", status=304 if reading else None)


def _number(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise GoogleError("invalid", f"{name}: {text}", location=name)
    return int(text)
