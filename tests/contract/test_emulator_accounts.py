"""Service accounts against both emulators: how they get tokens, and what a refused one looks like."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import google.auth.transport.requests
import httpx
import pytest
from google.api_core.exceptions import Unauthorized
from google.auth.exceptions import RefreshError
from google.cloud import storage
from google.oauth2 import service_account
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from audio_extract.emulator import DriveEmulator, EmulatorServer, ServiceAccount, StorageEmulator
from support.google_api import BUCKET, CheckedHttp, Clock

SCOPES = ["https://www.googleapis.com/auth/drive.readonly"]
DriveServer = EmulatorServer[DriveEmulator]
StorageServer = EmulatorServer[StorageEmulator]


@pytest.fixture(scope="module")
def account() -> ServiceAccount:
    return ServiceAccount("robot@demo-project.iam.gserviceaccount.com")


def access_token(credentials: Any) -> str:
    with google.auth.transport.requests.requests.Session() as session:
        credentials.refresh(google.auth.transport.requests.Request(session))
    return str(credentials.token)


def test_a_key_file_gets_a_token_that_drive_takes(
    drive_server: DriveServer, account: ServiceAccount, tmp_path: Path, web: httpx.Client
) -> None:
    drive = drive_server.emulator
    drive.accounts.add(account)
    drive.accounts.require_tokens()
    path = account.write_key_file(tmp_path / "key.json", f"{drive_server.url}/token")
    assert path.stat().st_mode & 0o077 == 0
    credentials = service_account.Credentials.from_service_account_file(str(path), scopes=SCOPES)
    headers = {"Authorization": f"Bearer {access_token(credentials)}"}
    assert web.get(f"{drive_server.url}/drive/v3/files", headers=headers).status_code == 200
    assert drive.accounts.subjects == [None]


def test_impersonation_names_the_user(drive_server: DriveServer, account: ServiceAccount) -> None:
    drive_server.emulator.accounts.add(account)
    info = account.key_info(f"{drive_server.url}/token")
    credentials = service_account.Credentials.from_service_account_info(
        info, scopes=SCOPES, subject="ann@example.com"
    )
    access_token(credentials)
    assert drive_server.emulator.accounts.subjects == ["ann@example.com"]


def test_a_key_that_was_replaced_gets_no_token(drive_server: DriveServer, account: ServiceAccount) -> None:
    info = account.key_info(f"{drive_server.url}/token")
    credentials = service_account.Credentials.from_service_account_info(info, scopes=SCOPES)
    with pytest.raises(RefreshError, match="account not found"):
        access_token(credentials)
    drive_server.emulator.accounts.add(ServiceAccount(account.email))
    with pytest.raises(RefreshError, match="Invalid JWT Signature"):
        access_token(credentials)


def test_the_token_endpoint_refuses_what_is_not_an_assertion(
    drive_server: DriveServer, web: httpx.Client
) -> None:
    answer = web.post(f"{drive_server.url}/token", data={"grant_type": "password"})
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    answer = web.post(f"{drive_server.url}/token", data={"grant_type": grant, "assertion": "x.y.z"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


#: (how the token is wrong, reason)
REFUSED = [
    ("missing", "required"),
    ("unknown", "authError"),
    ("revoked", "authError"),
    ("expired", "authError"),
]


@pytest.mark.parametrize(("case", "reason"), REFUSED)
def test_a_request_with_a_wrong_token_is_401(
    drive_server: DriveServer,
    storage_server: StorageServer,
    web: httpx.Client,
    clock: Clock,
    case: str,
    reason: str,
) -> None:
    addresses = {
        drive_server: "/drive/v3/files",
        storage_server: f"/storage/v1/b/{BUCKET}/o",
    }
    for server, path in addresses.items():
        accounts = server.emulator.accounts
        accounts.require_tokens()
        token = accounts.issue(lifetime=timedelta(hours=1))
        headers = {"Authorization": f"Bearer {token}"}
        assert web.get(server.url + path, headers=headers).status_code == 200
        if case == "revoked":
            accounts.revoke()
        elif case == "unknown":
            headers = {"Authorization": "Bearer nobody"}
        elif case == "missing":
            headers = {}
        else:
            clock.advance(hours=2)
        answer = web.get(server.url + path, headers=headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["errors"][0]["reason"]) == (401, 401, reason)
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_revoked_token_is_refused_even_where_none_is_needed(
    drive_server: DriveServer, web: httpx.Client
) -> None:
    accounts = drive_server.emulator.accounts
    token = accounts.issue("ya29.fixed")
    headers = {"Authorization": f"Bearer {token}"}
    assert web.get(f"{drive_server.url}/drive/v3/files").status_code == 200
    accounts.revoke(token)
    assert web.get(f"{drive_server.url}/drive/v3/files", headers=headers).status_code == 401
    accounts.issue(token)
    assert web.get(f"{drive_server.url}/drive/v3/files", headers=headers).status_code == 200


def test_googles_clients_report_401_as_their_users_know_it(
    drive_server: DriveServer,
    drive_http: CheckedHttp,
    storage_client: storage.Client,
    storage_emulator: StorageEmulator,
) -> None:
    drive_server.emulator.accounts.require_tokens()
    endpoint = {"api_endpoint": f"{drive_server.url}/drive/v3/"}
    client = build("drive", "v3", http=drive_http, static_discovery=True, client_options=endpoint)
    with pytest.raises(HttpError) as raised:
        client.files().list().execute()
    assert json.loads(raised.value.content)["error"]["errors"][0]["reason"] == "required"
    storage_emulator.accounts.require_tokens()
    with pytest.raises(Unauthorized):
        storage_client.get_bucket(BUCKET)
