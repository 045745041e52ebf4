"""Buckets and objects of the emulated Cloud Storage through Google's client."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
from datetime import UTC, datetime
from typing import Any

import google_crc32c
import httpx
import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound, PreconditionFailed
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from audio_extract.emulator import EmulatorServer, StorageEmulator
from audio_extract.emulator.faults import Answer
from support.google_api import BUCKET

PRECONDITIONS = "https://cloud.google.com/storage/docs/request-preconditions"
LIST = "https://cloud.google.com/storage/docs/json_api/v1/objects/list"
DATA = bytes(range(256)) * 1000
NAME = "dev/2026/03/Töwn Hall? #1 +50%_audio.mp3"


@pytest.fixture
def bucket(storage_client: Any) -> Any:
    return storage_client.bucket(BUCKET)


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


def test_buckets_are_made_found_listed_and_deleted(storage_client: Any) -> None:
    made = storage_client.create_bucket("another", location="europe-west3")
    assert (made.location, made.storage_class) == ("europe-west3", "STANDARD")
    assert {bucket.name for bucket in storage_client.list_buckets()} == {BUCKET, "another"}
    assert storage_client.get_bucket("another").metageneration == 1
    with pytest.raises(Conflict):
        storage_client.create_bucket("another")
    made.delete()
    assert not storage_client.bucket("another").exists()
    with pytest.raises(NotFound, match="The specified bucket does not exist"):
        storage_client.get_bucket("another")


def test_a_bucket_with_objects_is_not_deleted(bucket: Any) -> None:
    bucket.blob("a").upload_from_string(b"1")
    with pytest.raises(Conflict, match="not empty"):
        bucket.delete()


def test_an_object_has_the_fields_that_storage_gives_it(bucket: Any) -> None:
    blob = bucket.blob(NAME)
    blob.metadata = {"source-id": "1abc", "revision": "0" * 32}
    blob.content_disposition = 'inline; filename="Town Hall.mp3"'
    blob.cache_control = "private"
    blob.upload_from_string(DATA, content_type="audio/mpeg", if_generation_match=0)
    found = bucket.get_blob(NAME)
    assert found.size == len(DATA)
    assert found.crc32c == crc32c(DATA)
    assert found.md5_hash == base64.b64encode(hashlib.md5(DATA).digest()).decode()  # noqa: S324
    assert found.content_type == "audio/mpeg"
    assert found.metadata == {"source-id": "1abc", "revision": "0" * 32}
    assert found.content_disposition == 'inline; filename="Town Hall.mp3"'
    assert found.metageneration == 1
    assert found.generation == blob.generation
    assert found.time_created.date() == datetime(2026, 3, 14, tzinfo=UTC).date()
    assert found.download_as_bytes(checksum="crc32c") == DATA


def test_a_write_makes_a_new_generation(bucket: Any) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"1")
    first = blob.generation
    blob.upload_from_string(b"2")
    assert blob.generation > first
    with pytest.raises(NotFound):
        bucket.blob("a", generation=first).download_as_bytes()


#: (start, end, bytes)
RANGES = [
    (0, 0, DATA[:1]),
    (10, 19, DATA[10:20]),
    (255_000, None, DATA[255_000:]),
    (250_000, 999_999, DATA[250_000:]),
]


@pytest.mark.parametrize(("start", "end", "expected"), RANGES)
def test_a_range_of_an_object_can_be_read(bucket: Any, start: int, end: int | None, expected: bytes) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(DATA)
    assert blob.download_as_bytes(start=start, end=end) == expected


def test_a_large_object_is_read_in_chunks(bucket: Any) -> None:
    data = DATA * 10
    blob = bucket.blob("a", chunk_size=256 * 1024)
    blob.upload_from_string(data)
    assert blob.download_as_bytes() == data


def test_a_range_behind_the_end_is_416(
    bucket: Any, storage_server: EmulatorServer[StorageEmulator], web: httpx.Client
) -> None:
    bucket.blob("a").upload_from_string(b"123")
    url = f"{storage_server.url}/storage/v1/b/{BUCKET}/o/a"
    answer = web.get(url, params={"alt": "media"}, headers={"Range": "bytes=3-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */3")


def test_media_headers_tell_what_is_stored(
    bucket: Any, storage_server: EmulatorServer[StorageEmulator], web: httpx.Client
) -> None:
    blob = bucket.blob("a")
    blob.metadata = {"trace-id": "7"}
    blob.upload_from_string(DATA, content_type="audio/mpeg")
    headers = web.get(f"{storage_server.url}/download/storage/v1/b/{BUCKET}/o/a?alt=media").headers
    assert headers["x-goog-hash"] == f"crc32c={blob.crc32c},md5={blob.md5_hash}"
    assert headers["x-goog-generation"] == str(blob.generation)
    assert headers["x-goog-stored-content-length"] == str(len(DATA))
    assert headers["x-goog-meta-trace-id"] == "7"
    assert headers["content-type"] == "audio/mpeg"


def test_gzip_is_decompressed_for_clients_that_cannot_take_it(
    bucket: Any, storage_server: EmulatorServer[StorageEmulator], web: httpx.Client
) -> None:
    # https://cloud.google.com/storage/docs/transcoding
    blob = bucket.blob("log.json")
    blob.content_encoding = "gzip"
    packed = gzip.compress(b'{"a": 1}' * 1000)
    blob.upload_from_string(packed, content_type="application/json")
    assert blob.size == len(packed)
    url = f"{storage_server.url}/download/storage/v1/b/{BUCKET}/o/log.json?alt=media"
    plain = web.get(url, headers={"Accept-Encoding": "identity", "Range": "bytes=0-3"})
    assert (plain.status_code, plain.content) == (200, b'{"a": 1}' * 1000)
    assert "content-encoding" not in plain.headers
    assert "content-length" not in plain.headers
    assert plain.headers["x-goog-stored-content-encoding"] == "gzip"
    stored = web.get(url, headers={"Accept-Encoding": "gzip"})
    assert stored.headers["content-encoding"] == "gzip"
    assert int(stored.headers["content-length"]) == len(packed)
    assert bucket.get_blob("log.json").download_as_bytes(raw_download=True) == packed


def test_patch_changes_metadata_and_counts(bucket: Any) -> None:
    blob = bucket.blob("a")
    blob.metadata = {"keep": "1", "drop": "2"}
    blob.upload_from_string(b"1")
    blob.metadata = {"keep": "1", "drop": None, "new": "3"}
    blob.patch(if_metageneration_match=1)
    found = bucket.get_blob("a")
    assert found.metadata == {"keep": "1", "new": "3"}
    assert (found.metageneration, found.generation) == (2, blob.generation)


def test_update_replaces_metadata(bucket: Any) -> None:
    blob = bucket.blob("a")
    blob.metadata = {"old": "1"}
    blob.upload_from_string(b"1", content_type="text/plain")
    blob.metadata = {"new": "2"}
    blob.update()
    found = bucket.get_blob("a")
    assert (found.metadata, found.metageneration) == ({"new": "2"}, 2)


def test_delete_removes_an_object_once(bucket: Any) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"1")
    blob.delete()
    assert bucket.get_blob("a") is None
    with pytest.raises(NotFound, match="No such object"):
        blob.delete()


#: (condition, on an object that is there: allowed, on one that is not: allowed). "G" and "M" stand for the
#: object's generation and metageneration.
WRITE_CONDITIONS: list[tuple[dict[str, Any], bool, bool]] = [
    ({"if_generation_match": 0}, False, True),
    ({"if_generation_match": "G"}, True, False),
    ({"if_generation_match": 5}, False, False),
    ({"if_generation_not_match": 0}, True, False),
    ({"if_generation_not_match": "G"}, False, True),
    ({"if_metageneration_match": "M"}, True, False),
    ({"if_metageneration_match": 77}, False, False),
    ({"if_metageneration_not_match": "M"}, False, True),
    ({"if_generation_match": "G", "if_metageneration_match": "M"}, True, False),
    ({"if_generation_match": "G", "if_metageneration_match": 77}, False, False),
]


def resolved(condition: dict[str, Any], blob: Any) -> dict[str, Any]:
    values = {"G": blob.generation or 424242, "M": blob.metageneration or 1}
    return {key: values.get(value, value) for key, value in condition.items()}


@pytest.mark.parametrize("how", ["multipart", "resumable"])
@pytest.mark.parametrize(
    ("condition", "on_existing", "on_missing"),
    WRITE_CONDITIONS,
    ids=[str(row[0]) for row in WRITE_CONDITIONS],
)
@pytest.mark.parametrize("existing", [True, False], ids=["existing", "missing"])
def test_a_write_happens_only_if_its_preconditions_hold(
    bucket: Any,
    storage_emulator: StorageEmulator,
    how: str,
    condition: dict[str, Any],
    on_existing: bool,
    on_missing: bool,
    existing: bool,
) -> None:
    blob = bucket.blob("a")
    if existing:
        storage_emulator.put_object(BUCKET, "a", b"before")
        blob.reload()
    condition = resolved(condition, blob)

    def upload() -> None:
        # Without a size the client takes the resumable way.
        blob.upload_from_file(io.BytesIO(b"after"), size=5 if how == "multipart" else None, **condition)

    if on_existing if existing else on_missing:
        upload()
        assert storage_emulator.object(BUCKET, "a").read() == b"after", PRECONDITIONS
        return
    with pytest.raises(PreconditionFailed):
        upload()
    found = storage_emulator.find(BUCKET, "a")
    assert (found.read() if found else None) == (b"before" if existing else None)
    assert storage_emulator.uploads.open_sessions() == []


@pytest.mark.parametrize("verb", ["patch", "update", "delete"])
@pytest.mark.parametrize(
    ("condition", "on_existing", "on_missing"),
    WRITE_CONDITIONS,
    ids=[str(row[0]) for row in WRITE_CONDITIONS],
)
def test_every_verb_that_changes_an_object_checks_preconditions(
    bucket: Any,
    storage_emulator: StorageEmulator,
    verb: str,
    condition: dict[str, Any],
    on_existing: bool,
    on_missing: bool,
) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"1")
    blob.metadata = {"changed": "yes"}
    condition = resolved(condition, blob)
    if on_existing:
        getattr(blob, verb)(**condition)
    else:
        with pytest.raises(PreconditionFailed):
            getattr(blob, verb)(**condition)
    found = storage_emulator.find(BUCKET, "a")
    changed = found is None if verb == "delete" else found is not None and "changed" in found.metadata
    assert changed is on_existing, PRECONDITIONS


#: (parameter, status of a metadata or media read; "G" as above)
READ_CONDITIONS = [
    ("ifGenerationMatch", "G", 200),
    ("ifGenerationMatch", "5", 412),
    ("ifGenerationNotMatch", "G", 304),
    ("ifGenerationNotMatch", "5", 200),
    ("ifMetagenerationMatch", "1", 200),
    ("ifMetagenerationMatch", "2", 412),
    ("ifMetagenerationNotMatch", "1", 304),
]


@pytest.mark.parametrize("alt", ["json", "media"])
@pytest.mark.parametrize(("parameter", "value", "status"), READ_CONDITIONS)
def test_a_read_checks_preconditions(
    storage_server: EmulatorServer[StorageEmulator],
    web: httpx.Client,
    alt: str,
    parameter: str,
    value: str,
    status: int,
) -> None:
    item = storage_server.emulator.put_object(BUCKET, "a", b"1")
    url = f"{storage_server.url}/storage/v1/b/{BUCKET}/o/a"
    answer = web.get(url, params={"alt": alt, parameter: value.replace("G", str(item.generation))})
    assert answer.status_code == status, PRECONDITIONS


@pytest.mark.parametrize("value", ["many", "-1", "1.5"])
def test_a_precondition_that_is_not_a_number_is_invalid(
    storage_server: EmulatorServer[StorageEmulator], web: httpx.Client, value: str
) -> None:
    storage_server.emulator.put_object(BUCKET, "a", b"1")
    url = f"{storage_server.url}/storage/v1/b/{BUCKET}/o/a"
    assert web.delete(url, params={"ifGenerationMatch": value}).status_code == 400


# Lists.

NAMES = ["dev/a.mp3", "dev/b/1.mp3", "dev/b/2.mp3", "dev/c.mp3", "dev/d/", "prod/x.mp3", "ü.mp3"]

#: (parameters, names, prefixes)
LISTS: list[tuple[dict[str, Any], list[str], set[str]]] = [
    ({}, NAMES, set()),
    ({"prefix": "dev/"}, NAMES[:5], set()),
    ({"prefix": "dev/", "delimiter": "/"}, ["dev/a.mp3", "dev/c.mp3"], {"dev/b/", "dev/d/"}),
    ({"delimiter": "/"}, ["ü.mp3"], {"dev/", "prod/"}),
    (
        {"prefix": "dev/", "delimiter": "/", "include_trailing_delimiter": True},
        ["dev/a.mp3", "dev/c.mp3", "dev/d/"],
        {"dev/b/", "dev/d/"},
    ),
    ({"start_offset": "dev/c.mp3"}, ["dev/c.mp3", "dev/d/", "prod/x.mp3", "ü.mp3"], set()),
    ({"start_offset": "dev/b", "end_offset": "dev/c"}, ["dev/b/1.mp3", "dev/b/2.mp3"], set()),
    ({"prefix": "none"}, [], set()),
    ({"max_results": 2}, NAMES[:2], set()),
]


@pytest.mark.parametrize("page_size", [None, 1, 3])
@pytest.mark.parametrize(("parameters", "names", "prefixes"), LISTS, ids=[str(row[0]) for row in LISTS])
def test_a_list_gives_names_in_order_whatever_the_page_size(
    storage_client: Any,
    storage_emulator: StorageEmulator,
    parameters: dict[str, Any],
    names: list[str],
    prefixes: set[str],
    page_size: int | None,
) -> None:
    for name in reversed(NAMES):
        storage_emulator.put_object(BUCKET, name, b"1")
    found = storage_client.list_blobs(BUCKET, page_size=page_size, **parameters)
    assert [blob.name for blob in found] == names, LIST
    assert found.prefixes == prefixes, LIST


def test_a_list_can_be_masked(storage_client: Any, storage_emulator: StorageEmulator) -> None:
    storage_emulator.put_object(BUCKET, "a", b"123")
    (blob,) = storage_client.list_blobs(BUCKET, fields="items(name,size),nextPageToken")
    assert (blob.size, blob.generation) == (3, None)


def test_a_missing_bucket_is_404_in_json(
    storage_client: Any, storage_server: EmulatorServer[StorageEmulator], web: httpx.Client
) -> None:
    with pytest.raises(NotFound):
        list(storage_client.list_blobs("nowhere"))
    with pytest.raises(NotFound):
        storage_client.bucket("nowhere").blob("a").upload_from_string(b"1")
    answer = web.post(f"{storage_server.url}/upload/storage/v1/b/nowhere/o?uploadType=resumable&name=a")
    assert answer.status_code == 404
    assert answer.json()["error"]["errors"][0]["reason"] == "notFound"


# Copies.


def test_compose_joins_objects_and_has_no_md5(bucket: Any) -> None:
    for number in range(3):
        bucket.blob(f"part-{number}").upload_from_string(bytes([number]) * 1000)
    target = bucket.blob("whole")
    parts = [bucket.blob(f"part-{number}") for number in range(3)]
    target.compose(parts, if_generation_match=0)
    target.reload()
    data = b"".join(bytes([number]) * 1000 for number in range(3))
    assert target.download_as_bytes() == data
    assert (target.crc32c, target.md5_hash, target.component_count) == (crc32c(data), None, 3)
    with pytest.raises(PreconditionFailed):
        target.compose(parts, if_generation_match=0)
    with pytest.raises(NotFound):
        target.compose([bucket.blob("nothing")])


def test_compose_checks_the_generation_of_its_sources(bucket: Any) -> None:
    part = bucket.blob("part")
    part.upload_from_string(b"1")
    with pytest.raises(PreconditionFailed):
        bucket.blob("whole").compose([part], if_source_generation_match=[part.generation + 1])


def test_compose_takes_at_most_32_objects(bucket: Any) -> None:
    part = bucket.blob("part")
    part.upload_from_string(b"1")
    with pytest.raises(BadRequest):
        bucket.blob("whole").compose([part] * 33)


def test_rewrite_and_copy_keep_content_and_metadata(bucket: Any) -> None:
    source = bucket.blob("a/b")
    source.metadata = {"x": "y"}
    source.upload_from_string(DATA, content_type="audio/mpeg")
    target = bucket.blob("c/d")
    assert target.rewrite(source) == (None, len(DATA), len(DATA))
    copied = bucket.copy_blob(source, bucket, "e", if_generation_match=0)
    for name in ("c/d", "e"):
        found = bucket.get_blob(name)
        assert (found.crc32c, found.metadata, found.content_type) == (source.crc32c, {"x": "y"}, "audio/mpeg")
    with pytest.raises(PreconditionFailed):
        bucket.copy_blob(source, bucket, "e", if_generation_match=0)
    assert copied.generation != source.generation


# Permissions.


def test_permissions_are_tested_and_enforced(bucket: Any, storage_emulator: StorageEmulator) -> None:
    wanted = ["storage.objects.create", "storage.objects.get"]
    assert bucket.test_iam_permissions(wanted) == wanted
    bucket.blob("a").upload_from_string(b"1")
    storage_emulator.deny("storage.objects.create")
    assert bucket.test_iam_permissions(wanted) == ["storage.objects.get"]
    with pytest.raises(Forbidden, match=r"storage\.objects\.create"):
        bucket.blob("a").upload_from_string(b"2")
    with pytest.raises((Forbidden, InvalidResponse), match=r"storage\.objects\.create"):
        bucket.blob("b").upload_from_file(io.BytesIO(b"2"))
    storage_emulator.allow("storage.objects.create")
    bucket.blob("a").upload_from_string(b"2")


def test_a_read_that_is_not_permitted_is_forbidden(bucket: Any, storage_emulator: StorageEmulator) -> None:
    bucket.blob("a").upload_from_string(b"1")
    storage_emulator.deny("storage.objects.get", "storage.objects.list", "storage.objects.delete")
    for attempt in (
        bucket.blob("a").download_as_bytes,
        bucket.blob("a").reload,
        bucket.blob("a").delete,
        lambda: list(bucket.list_blobs()),
    ):
        with pytest.raises(Forbidden):
            attempt()


def test_googles_client_retries_a_503(bucket: Any, storage_emulator: StorageEmulator) -> None:

    bucket.blob("a").upload_from_string(b"1")
    storage_emulator.faults.add(Answer(), kind="storage.media", times=2)
    retry = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.02)
    assert bucket.blob("a").download_as_bytes(retry=retry) == b"1"
    assert storage_emulator.requests.count("storage.media") == 3
    assert storage_emulator.faults.pending() == []
