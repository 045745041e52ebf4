"""The bucket as a destination; the emulator verifies preconditions, checksums and signatures."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import google.auth.credentials
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from audio_extract import _engine
from audio_extract.credentials import CLOUD_PLATFORM, GoogleCredentials
from audio_extract.emulator import EmulatorServer, ServiceAccount, StorageEmulator
from audio_extract.emulator.faults import Answer, Corrupt, LoseAnswer
from audio_extract.exceptions import (
    AudioExtractError,
    AuthenticationError,
    ConfigurationError,
    CorruptionError,
    DestinationExistsError,
    NotFoundError,
    PermissionDeniedError,
    TransientError,
)
from audio_extract.settings import load_settings
from audio_extract.storage import StorageFactory
from audio_extract.storage.gcs import GCSStorageAdapter

BUCKET = "audio"
NAME = "dev/2025/01/Weekly_2025-01-29_10-00_audio.mp3"
METADATA = {
    "source-id": "1AbC",
    "revision": "900150983cd24fb0d6963f7d28e17f72",
    "plan-id": "0123456789abcdef",
}


class Place:
    """An emulated Cloud Storage with a bucket, and adapters for it."""

    def __init__(self, server: EmulatorServer[StorageEmulator]) -> None:
        self.server = server
        self.state = server.emulator
        self.state.create_bucket(BUCKET)
        self._adapters: list[GCSStorageAdapter] = []

    def adapter(
        self, bucket: str = BUCKET, *, credentials: GoogleCredentials | None = None, **options: Any
    ) -> GCSStorageAdapter:
        adapter = GCSStorageAdapter(
            bucket, credentials=credentials, endpoint=self.server.url, **{"retry_seconds": 20.0, **options}
        )
        self._adapters.append(adapter)
        return adapter

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.state.requests.to_json()["counts"]
        return counts

    def close(self) -> None:
        for adapter in self._adapters:
            adapter.close()


@pytest.fixture
def place() -> Iterator[Place]:
    with EmulatorServer(StorageEmulator()) as server:
        place = Place(server)
        yield place
        place.close()


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "audio.mp3"
    path.write_bytes(b"some audio" * 1000)
    return path


def save(adapter: GCSStorageAdapter, audio: Path, name: str = NAME, **metadata: str) -> Any:
    return adapter.save(audio, name, metadata=metadata or METADATA, content_type="audio/mpeg")


# Saving and finding.


def test_a_saved_file_stands_there_with_its_metadata_and_checksum(place: Place, audio: Path) -> None:
    adapter = place.adapter()
    stored = save(adapter, audio)
    assert (stored.crc32c, stored.size_bytes) == _engine.crc32c_file(str(audio))
    assert stored.metadata == METADATA
    assert stored.generation == place.state.object(BUCKET, NAME).generation
    assert adapter.stat(NAME) == stored
    assert adapter.exists(NAME)
    assert place.state.object(BUCKET, NAME).content_encoding is None


def test_a_name_that_somebody_else_has_is_never_taken(place: Place, audio: Path) -> None:
    place.state.put_object(BUCKET, NAME, b"somebody else's")
    with pytest.raises(DestinationExistsError):
        save(place.adapter(), audio)
    assert place.state.object(BUCKET, NAME).content.size == len(b"somebody else's")


def test_a_file_whose_answer_was_lost_is_recognised_as_ours(place: Place, audio: Path) -> None:
    place.state.faults.add(LoseAnswer(), kind="storage.upload")
    stored = save(place.adapter(), audio)
    assert place.state.faults.pending() == []
    assert place.state.object(BUCKET, NAME).generation == stored.generation


def test_an_upload_that_is_damaged_on_its_way_leaves_no_object(place: Place, audio: Path) -> None:
    place.state.faults.add(Corrupt(offset=2000, side="request"), kind="storage.upload", times=None)
    with pytest.raises(AudioExtractError):
        save(place.adapter(retry_seconds=1.0), audio)
    assert place.state.find(BUCKET, NAME) is None


def test_failures_that_pass_are_tried_again(place: Place, audio: Path) -> None:
    place.state.faults.add(Answer(reason="backendError"), kind="storage.upload")
    assert save(place.adapter(), audio).size_bytes == audio.stat().st_size


def test_a_free_name_has_nothing(place: Place) -> None:
    assert place.adapter().stat(NAME) is None
    assert not place.adapter().exists(NAME)


def test_names_are_listed_in_order_and_by_prefix(place: Place, audio: Path) -> None:
    adapter = place.adapter()
    for name in ("dev/b.mp3", "dev/a.mp3", "staging/c.mp3"):
        save(adapter, audio, name)
    assert [one.name for one in adapter.list_files("dev/")] == ["dev/a.mp3", "dev/b.mp3"]
    assert len([*adapter.list_files()]) == 3


def test_just_the_named_generation_is_deleted(place: Place, audio: Path) -> None:
    adapter = place.adapter()
    stored = save(adapter, audio)
    with pytest.raises(DestinationExistsError):
        adapter.delete(NAME, generation=stored.generation + 1)
    assert adapter.exists(NAME)
    adapter.delete(NAME, generation=stored.generation)
    with pytest.raises(NotFoundError):
        adapter.delete(NAME)


def test_every_write_carries_a_generation_precondition(place: Place, audio: Path) -> None:
    adapter = place.adapter()
    save(adapter, audio)
    adapter.put_log("dev/metadata/log.json", {})
    adapter.put_log("dev/metadata/log.json", {"again": True})
    adapter.delete(NAME)
    writes = [one for one in place.state.requests.records() if one.method in {"POST", "PUT", "DELETE"}]
    assert len(writes) == 4
    assert all("ifGenerationMatch=" in one.target for one in writes)


def test_nothing_but_what_was_asked_for_is_requested(place: Place, audio: Path) -> None:
    save(place.adapter(), audio)
    place.adapter().stat(NAME)
    assert place.counts() == {"storage.upload": 1, "storage.get": 1}


# Logs.


def test_a_log_is_stored_compressed_and_read_back(place: Place) -> None:
    adapter = place.adapter()
    stored = adapter.put_log("dev/metadata/log.json", {"title": "Überblick", "bytes": 3})
    item = place.state.object(BUCKET, "dev/metadata/log.json")
    assert (item.content_encoding, item.content_type) == ("gzip", "application/json")
    assert stored.generation == item.generation
    with item.content.open() as reader:
        raw = reader.read(0, item.content.size)
    assert json.loads(gzip.decompress(raw)) == {"title": "Überblick", "bytes": 3}
    assert adapter.get_log("dev/metadata/log.json") == {"title": "Überblick", "bytes": 3}


def test_a_log_replaces_the_one_of_an_earlier_attempt(place: Place) -> None:
    adapter = place.adapter()
    first = adapter.put_log("log.json", {"attempt": 1})
    second = adapter.put_log("log.json", {"attempt": 2})
    assert second.generation != first.generation
    assert adapter.get_log("log.json") == {"attempt": 2}


def test_a_log_that_somebody_else_writes_meanwhile_is_replaced_by_its_new_generation(place: Place) -> None:
    adapter = place.adapter()
    adapter.put_log("log.json", {"attempt": 1})
    place.state.faults.add(Answer(reason="conditionNotMet"), kind="storage.upload")
    adapter.put_log("log.json", {"attempt": 2})
    assert adapter.get_log("log.json") == {"attempt": 2}


def test_many_threads_write_one_log_and_one_of_them_wins(place: Place) -> None:
    adapter = place.adapter()
    failures: list[Exception] = []

    def write(number: int) -> None:
        try:
            adapter.put_log("log.json", {"attempt": number})
        except DestinationExistsError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    log = adapter.get_log("log.json")
    assert log is not None
    assert log["attempt"] in range(4)


def test_an_absent_or_broken_log_is_none(place: Place) -> None:
    place.state.put_object(BUCKET, "broken.json", b"{cut of")
    assert place.adapter().get_log("broken.json") is None
    assert place.adapter().get_log("absent.json") is None


# Links.


def key_credentials(path: Path) -> GoogleCredentials:
    return GoogleCredentials(key_file=path, scopes=(CLOUD_PLATFORM,), setting="storage.gcs.credentials_path")


@pytest.fixture
def signer(place: Place, tmp_path: Path) -> GCSStorageAdapter:
    account = place.state.accounts.add(ServiceAccount())
    place.state.accounts.require_tokens()
    return place.adapter(
        credentials=key_credentials(
            account.write_key_file(tmp_path / "key.json", f"{place.server.url}/token")
        )
    )


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - http on loopback
        content: bytes = response.read()
    return content


def test_a_signed_link_works_without_signing_in(signer: GCSStorageAdapter, audio: Path) -> None:
    save(signer, audio, "dev/Ü b+c.mp3")
    url = signer.get_url("dev/Ü b+c.mp3")
    assert "X-Goog-Signature=" in url
    assert "X-Goog-Expires=86400" in url
    assert fetch(url) == audio.read_bytes()


def test_a_link_to_download_gives_the_file_its_name_in_any_script(
    signer: GCSStorageAdapter, place: Place, audio: Path
) -> None:
    name = 'dev/2025/Ü 🎙 "b"; c.mp3'
    save(signer, audio, name)
    for adapter in (signer, place.adapter()):
        url = adapter.get_url(name, as_attachment=True)
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - http on loopback
            sent = response.headers["content-disposition"]
        assert sent == "attachment; filename*=UTF-8''%C3%9C%20%F0%9F%8E%99%20%22b%22%3B%20c.mp3"
        place.state.accounts.require_tokens(required=False)


def test_a_tampered_link_is_refused(signer: GCSStorageAdapter, audio: Path) -> None:
    save(signer, audio)
    url = signer.get_url(NAME, timedelta(hours=1))
    assert fetch(url) == audio.read_bytes()
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(url.replace("X-Goog-Expires=3600", "X-Goog-Expires=7200"))
    assert caught.value.code == 403
    caught.value.close()


def test_a_link_that_lives_longer_than_seven_days_is_refused_with_the_setting(place: Place) -> None:
    adapter = place.adapter()
    assert adapter.get_url(NAME, timedelta(days=7))
    for lifetime in (timedelta(days=7, seconds=1), timedelta(seconds=-1)):
        with pytest.raises(ConfigurationError, match=r"storage\.gcs\.url_expiration_hours"):
            adapter.get_url(NAME, lifetime)


def test_at_an_emulator_links_are_unsigned_and_work(place: Place, audio: Path) -> None:
    adapter = place.adapter()
    save(adapter, audio, "dev/Ü b.mp3")
    assert fetch(adapter.get_url("dev/Ü b.mp3")) == audio.read_bytes()


def test_a_public_bucket_needs_no_signature(place: Place) -> None:
    assert place.adapter(public_access=True).get_url("a b.mp3") == f"{place.server.url}/{BUCKET}/a%20b.mp3"


def test_without_a_private_key_iam_signs(place: Place, audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # IAM's address is fixed in Google's client, so its answer is made here, with the account's real key.
    account = place.state.accounts.add(ServiceAccount())
    asked: list[tuple[str, str]] = []

    def sign_blob(message: str, token: str, email: str, _universe: str = "googleapis.com") -> str:
        asked.append((token, email))
        signature = account._key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(signature).decode()

    class OfThisMachine(google.auth.credentials.Credentials):
        service_account_email = account.email

        def refresh(self, request: object) -> None:
            self.token = place.state.accounts.issue()

    class Keyless(GoogleCredentials):
        def current(self) -> google.auth.credentials.Credentials:
            return machine

    machine = OfThisMachine()  # type: ignore[no-untyped-call]
    monkeypatch.setattr("google.cloud.storage._signing._sign_message", sign_blob)
    adapter = place.adapter(
        credentials=Keyless(key_file=None, scopes=(), setting="storage.gcs.credentials_path")
    )
    save(adapter, audio)
    url = adapter.get_url(NAME)
    assert asked == [(machine.token, account.email)]
    assert fetch(url) == audio.read_bytes()
    machine.service_account_email = "default"
    with pytest.raises(ConfigurationError, match=r"storage\.gcs\.credentials_path"):
        adapter.get_url(NAME)
    assert adapter.check().can_sign is False


# Signing in.


def test_a_key_file_signs_in_once_for_the_client_and_the_engine(
    signer: GCSStorageAdapter, place: Place, audio: Path
) -> None:
    save(signer, audio)
    provider = signer.token_provider()
    assert provider is not None
    token, expiry = provider()
    assert token.startswith("ya29.")
    assert expiry > datetime.now(UTC).timestamp() + 3000
    assert place.counts()["token"] == 1
    assert signer.engine_sink(NAME, content_type="audio/mpeg", metadata=METADATA)["authenticated"] is True


def test_a_token_that_was_taken_back_is_replaced(signer: GCSStorageAdapter, place: Place) -> None:
    assert signer.stat(NAME) is None
    place.state.accounts.revoke()
    assert signer.stat(NAME) is None
    assert place.counts()["token"] == 2


def test_credentials_that_are_refused_stop_with_a_remedy(place: Place, tmp_path: Path) -> None:
    place.state.accounts.require_tokens()
    stranger = ServiceAccount("stranger@demo-project.iam.gserviceaccount.com")
    key = stranger.write_key_file(tmp_path / "key.json", f"{place.server.url}/token")
    with pytest.raises(AuthenticationError, match=r"storage\.gcs\.credentials_path") as caught:
        place.adapter(credentials=key_credentials(key)).check()
    assert caught.value.exit_code == 3
    with pytest.raises(AuthenticationError, match="anonymous"):
        place.adapter().check()


# What can be wrong.


def test_a_good_bucket_passes_the_check_and_says_what_is_less_than_perfect(
    place: Place, signer: GCSStorageAdapter
) -> None:
    check = signer.check()
    assert (check.subject, check.can_sign, check.notes) == ("gs://audio", True, ())
    assert check.account == "extractor@demo-project.iam.gserviceaccount.com"
    place.state.deny("storage.objects.delete")
    [note] = signer.check().notes
    assert "storage.objects.delete" in note


@pytest.mark.parametrize("ask", ["check", "stat", "list_files", "save", "put_log"])
def test_a_bucket_that_does_not_exist_names_the_setting(place: Place, audio: Path, ask: str) -> None:
    adapter = place.adapter("missing")
    asks: dict[str, Any] = {
        "check": adapter.check,
        "stat": lambda: adapter.stat(NAME),
        "list_files": lambda: list(adapter.list_files()),
        "save": lambda: save(adapter, audio),
        "put_log": lambda: adapter.put_log("log.json", {}),
    }
    with pytest.raises(ConfigurationError, match=r"storage\.gcs\.bucket_name") as caught:
        asks[ask]()
    assert (caught.value.code, caught.value.exit_code) == ("destination.not_found", 2)


@pytest.mark.parametrize(
    "permission", ["storage.objects.create", "storage.objects.get", "storage.objects.list"]
)
def test_a_missing_permission_names_the_role(place: Place, permission: str) -> None:
    place.state.deny(permission)
    with pytest.raises(PermissionDeniedError, match=r"roles/storage\.objectUser") as caught:
        place.adapter().check()
    assert (caught.value.code, caught.value.exit_code) == ("destination.permission_denied", 3)


def test_a_refused_write_is_a_permission_error(place: Place, audio: Path) -> None:
    place.state.deny("storage.objects.create")
    with pytest.raises(PermissionDeniedError, match=r"storage\.objectUser"):
        save(place.adapter(), audio)


def test_a_network_that_is_not_there_is_temporary() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        adapter = GCSStorageAdapter(BUCKET, credentials=None, endpoint=endpoint, retry_seconds=0.1)
        with pytest.raises(TransientError, match="cannot be reached") as caught:
            adapter.stat(NAME)
        adapter.close()
    assert (caught.value.code, caught.value.exit_code) == ("destination.network", 5)


def test_a_server_that_stays_down_is_temporary(place: Place) -> None:
    place.state.faults.add(Answer(reason="backendError"), times=None)
    with pytest.raises(TransientError) as caught:
        place.adapter(retry_seconds=0.1).stat(NAME)
    assert caught.value.code == "destination.server_error"


def test_a_log_that_is_damaged_on_its_way_back_is_not_believed(place: Place) -> None:
    adapter = place.adapter(retry_seconds=1.0)
    adapter.put_log("log.json", {"title": "a" * 100})
    place.state.faults.add(Corrupt(offset=12), kind="storage.media", times=None)
    with pytest.raises(CorruptionError):
        adapter.get_log("log.json")


# The engine and the settings.


def test_the_engine_writes_where_the_sink_says(place: Place) -> None:
    adapter = place.adapter(chunk_size_bytes=256 * 1024)
    sink = adapter.engine_sink(NAME, content_type="audio/mpeg", metadata=METADATA)
    assert sink == {
        "kind": "gcs",
        "endpoint": place.server.url,
        "bucket": BUCKET,
        "object": NAME,
        "authenticated": False,
        "content_type": "audio/mpeg",
        "metadata": METADATA,
        "chunk_size_bytes": 256 * 1024,
        "if_generation_match": 0,
    }
    there = adapter.put_log("log.json", {})
    replacing = adapter.engine_sink("log.json", content_type="audio/mpeg", metadata={}, replace=there)
    assert replacing["if_generation_match"] == there.generation
    assert adapter.token_provider() is None


def test_with_an_emulator_no_key_file_is_opened(place: Place, tmp_path: Path) -> None:
    settings = load_settings(
        overrides={
            "storage": {
                "type": "gcs",
                "gcs": {"bucket_name": BUCKET, "credentials_path": str(tmp_path / "absent.json")},
            },
            "google_drive": {"recordings_folder_id": "abc"},
        },
        environ={"STORAGE_EMULATOR_HOST": place.server.url},
    )
    adapter = StorageFactory.create(settings)
    assert adapter.check().subject == "gs://audio"
    adapter.close()


def test_without_an_emulator_a_missing_key_file_is_a_configuration_error(tmp_path: Path) -> None:
    settings = load_settings(
        overrides={
            "storage": {
                "type": "gcs",
                "gcs": {"bucket_name": BUCKET, "credentials_path": str(tmp_path / "absent.json")},
            },
            "google_drive": {"recordings_folder_id": "abc"},
        },
        environ={},
    )
    adapter = StorageFactory.create(settings)
    with pytest.raises(ConfigurationError, match=r"storage\.gcs\.credentials_path"):
        adapter.check()
    adapter.close()
