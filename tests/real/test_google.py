"""The demo's assertions against Google itself. `make test-real` runs it.

Needs AUDIO_EXTRACT_TEST_FOLDER_ID (a folder with recordings, shared with the account as Viewer),
AUDIO_EXTRACT_TEST_BUCKET (a bucket the account may write) and a key: AUDIO_EXTRACT_TEST_KEY or
GOOGLE_APPLICATION_CREDENTIALS. What it writes stands below a prefix of its own and is removed at the end.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from audio_extract.cli.assembly import open_service
from audio_extract.cli.verification import Expected, Verifier, same_objects
from audio_extract.jobs.service import Service
from audio_extract.plan import Selected, select
from audio_extract.settings import Settings, load_settings

NEEDED = ("AUDIO_EXTRACT_TEST_FOLDER_ID", "AUDIO_EXTRACT_TEST_BUCKET", "AUDIO_EXTRACT_TEST_KEY")
MISSING = [name for name in NEEDED if not os.environ.get(name)]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"real Google: {', '.join(MISSING)} not set")


@dataclass
class Google:
    """A service between a real folder and a real bucket, under a prefix of its own."""

    settings: Settings
    bucket: Any
    folder: Path

    def verifier(self, service: Service, ffmpeg: Path) -> Verifier:
        return Verifier(service.tracker, self.bucket, self.settings.object_prefix, ffmpeg)

    def download(self, source_id: str) -> Path:
        """Fetch a recording with Google's own client, to compare with."""
        from google.oauth2.service_account import Credentials
        from googleapiclient.discovery import build
        from googleapiclient.http import MediaIoBaseDownload

        path = self.folder / source_id
        if not path.exists():
            scopes = ["https://www.googleapis.com/auth/drive.readonly"]
            key = os.environ["AUDIO_EXTRACT_TEST_KEY"]
            credentials = Credentials.from_service_account_file(key, scopes=scopes)
            with build("drive", "v3", credentials=credentials, static_discovery=True) as drive:
                request = drive.files().get_media(fileId=source_id, supportsAllDrives=True)
                with path.open("wb") as file:
                    downloader = MediaIoBaseDownload(file, request)
                    done = False
                    while not done:
                        _, done = downloader.next_chunk()
        return path


@pytest.fixture
def google(tmp_path: Path) -> Iterator[Google]:
    from google.cloud import storage

    key = os.environ["AUDIO_EXTRACT_TEST_KEY"]
    prefix = f"audio-extract-test/{uuid.uuid4()}"
    settings = load_settings(
        overrides={
            "google_drive": {
                "recordings_folder_id": os.environ["AUDIO_EXTRACT_TEST_FOLDER_ID"],
                "service_account_file": key,
                "days_to_look_back": 0,
            },
            "storage": {
                "type": "gcs",
                "gcs": {
                    "bucket_name": os.environ["AUDIO_EXTRACT_TEST_BUCKET"],
                    "credentials_path": key,
                    "prefix": prefix,
                },
            },
            "monitoring": {"database_path": str(tmp_path / "audio.db")},
        },
        environ={},
    )
    bucket = storage.Client.from_service_account_json(key).bucket(os.environ["AUDIO_EXTRACT_TEST_BUCKET"])
    yield Google(settings, bucket, tmp_path)
    for blob in bucket.list_blobs(prefix=prefix):
        blob.delete()


def expected_of(google: Google, service: Service) -> list[Expected]:
    """Every recording that the rules want; some may be media that cannot be read, but not all."""
    found = []
    for source in service.sources:
        for recording in source.list():
            if isinstance(select(recording, google.settings, recording.created_at), Selected):
                row = service.tracker.find(recording.source_id)
                code = row.error_code if row is not None and row.error_kind == "media" else None
                content = google.download(recording.source_id)
                found.append(Expected(recording.source_id, recording.name, code, content))
    assert any(one.error_code is None for one in found), "the folder holds no recording that works"
    return found


def test_every_recording_is_stored_verified_and_never_moved_again(google: Google, ffmpeg: Path) -> None:
    with open_service(google.settings) as service:
        report = service.run_once()
        assert report.source_errors == []
        expected = expected_of(google, service)
        good = [one for one in expected if one.error_code is None]
        verifier = google.verifier(service, ffmpeg)
        assert verifier.problems(expected) == []
        before = verifier.objects()
        assert len(before) == len(good)

    with open_service(google.settings) as service:
        again = service.run_once()
        assert (again.completed, again.adopted) == (0, 0)
        assert same_objects(before, google.verifier(service, ffmpeg).objects()) == []

    for path in google.folder.glob("audio.db*"):
        path.unlink()
    with open_service(google.settings) as service:
        adopted = service.run_once()
        assert (adopted.completed, adopted.adopted) == (0, len(good))
        verifier = google.verifier(service, ffmpeg)
        assert same_objects(before, verifier.objects()) == []
        assert verifier.problems(expected) == []


def test_a_link_that_the_service_signs_gives_the_audio(google: Google, ffmpeg: Path) -> None:
    import httpx

    with open_service(google.settings) as service:
        service.run_once()
        row = next(row for row in service.tracker.listing().rows if row.status == "completed")
        assert row.storage_path is not None
        url = service.storage.get_url(row.storage_path)
    answer = httpx.get(url)
    assert answer.status_code == 200
    assert len(answer.content) == row.stored_size_bytes
    assert httpx.get(f"{url[:-4]}beef").status_code == 403
