"""Google's own clients against the emulators, built as their users build them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from googleapiclient.discovery import build_from_document

from audio_extract.emulator import DriveEmulator, EmulatorServer, StorageEmulator
from support.google_api import BUCKET, CheckedHttp, CheckedSession, Clock, Discovery


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def drive_server(clock: Clock) -> Iterator[EmulatorServer[DriveEmulator]]:
    with EmulatorServer(DriveEmulator(clock=clock)) as server:
        yield server


@pytest.fixture
def drive(drive_server: EmulatorServer[DriveEmulator]) -> DriveEmulator:
    return drive_server.emulator


@pytest.fixture
def drive_http() -> Iterator[CheckedHttp]:
    http = CheckedHttp(Discovery("drive.v3"))
    yield http
    http.close()


@pytest.fixture
def drive_client(drive_server: EmulatorServer[DriveEmulator], drive_http: CheckedHttp) -> Any:
    """Google's client. ``api_endpoint`` alone would send uploads to Google."""
    document = drive_http.discovery.document | {"rootUrl": f"{drive_server.url}/"}
    return build_from_document(document, http=drive_http)


@pytest.fixture
def storage_server(clock: Clock) -> Iterator[EmulatorServer[StorageEmulator]]:
    emulator = StorageEmulator(clock=clock)
    emulator.create_bucket(BUCKET)
    with EmulatorServer(emulator) as server:
        yield server


@pytest.fixture
def storage_emulator(storage_server: EmulatorServer[StorageEmulator]) -> StorageEmulator:
    return storage_server.emulator


@pytest.fixture
def storage_session() -> Iterator[CheckedSession]:
    with CheckedSession(Discovery("storage.v1")) as session:
        yield session


@pytest.fixture
def storage_client(storage_server: EmulatorServer[StorageEmulator], storage_session: CheckedSession) -> Any:
    return storage.Client(
        project="demo-project",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": storage_server.url},
        _http=storage_session,
    )


@pytest.fixture
def web() -> Iterator[httpx.Client]:
    """Plain HTTP, for what Google's clients hide."""
    with httpx.Client(timeout=20) as client:
        yield client
