"""Signing in: what a key file may look like, and what is said when it cannot be used."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from google.auth.exceptions import RefreshError, TransportError

from audio_extract.credentials import GoogleCredentials, expiry_of
from audio_extract.emulator import ServiceAccount
from audio_extract.exceptions import AuthenticationError, ConfigurationError, TransientError

SETTING = "google_drive.service_account_file"
TOKEN_URI = "https://oauth2.googleapis.com/token"


def credentials(key_file: Path | None, **options: str) -> GoogleCredentials:
    return GoogleCredentials(key_file=key_file, scopes=("scope",), setting=SETTING, **options)


@pytest.fixture(scope="module")
def account() -> ServiceAccount:
    return ServiceAccount()


@pytest.fixture
def key(account: ServiceAccount, tmp_path: Path) -> Path:
    return account.write_key_file(tmp_path / "key.json", TOKEN_URI)


def test_a_key_file_names_its_account(key: Path, account: ServiceAccount) -> None:
    assert credentials(key).account == account.email
    assert credentials(key, subject="a@example.com").account == "a@example.com"
    assert (
        credentials(key, impersonate="b@p.iam.gserviceaccount.com").account == "b@p.iam.gserviceaccount.com"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "service_account"),
        ('{"type": "authorized_user", "refresh_token": "very-secret"}', "service_account"),
        ('{"installed": {"client_secret": "very-secret"}}', "service_account"),
        ('{"type": "service_account", "private_key": "very-secret"}', "damaged"),
    ],
)
def test_a_file_that_is_no_key_says_so_and_shows_nothing_of_it(
    tmp_path: Path, content: str, why: str
) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=why) as caught:
        credentials(path).current()
    assert SETTING in caught.value.message
    assert str(path) in caught.value.message
    assert "very-secret" not in caught.value.message
    assert caught.value.exit_code == 2


def test_a_key_with_a_damaged_private_part_says_so(key: Path) -> None:
    document = json.loads(key.read_text())
    document["private_key"] = document["private_key"][:200]
    key.write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match="damaged"):
        credentials(key).current()


def test_a_missing_key_file_and_a_folder_name_the_setting(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ConfigurationError, match=SETTING):
            credentials(path).current()


def test_the_same_file_is_read_once_and_a_replaced_one_again(
    key: Path, account: ServiceAccount, tmp_path: Path
) -> None:
    signed_in = credentials(key)
    first = signed_in.current()
    assert signed_in.current() is first
    other = ServiceAccount("other@demo-project.iam.gserviceaccount.com")
    other.write_key_file(tmp_path / "other.json", TOKEN_URI).replace(key)
    assert signed_in.account == other.email


def test_while_a_key_is_being_replaced_the_old_one_serves(
    key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signed_in = credentials(key)
    first = signed_in.current()
    content = key.read_text()
    key.write_text(content[:100])
    assert signed_in.current() is first
    assert "using the key that was read before" in caplog.text
    key.unlink()
    assert signed_in.current() is first
    key.write_text(content)
    os.utime(key, (1, 1))
    assert signed_in.current() is not first


def test_a_machine_without_credentials_says_how_to_sign_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(AuthenticationError, match="gcloud auth application-default login") as caught:
        credentials(None).current()
    assert SETTING in caught.value.message
    assert caught.value.exit_code == 3


def test_the_machines_credentials_may_be_a_key_file_and_may_act_as_others(
    key: Path, account: ServiceAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    assert credentials(None).account == account.email
    target = "b@p.iam.gserviceaccount.com"
    acting = credentials(None, impersonate=target, subject="user@example.com")
    assert acting.current().service_account_email == target  # type: ignore[attr-defined]
    assert acting.account == "user@example.com"


def test_a_user_cannot_act_as_another_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    user = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    (tmp_path / "adc.json").write_text(json.dumps(user))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    with pytest.raises(ConfigurationError, match=r"google_drive\.impersonate_service_account"):
        credentials(None, subject="user@example.com").current()


def test_what_google_refuses_is_told_with_the_remedy_that_fits(key: Path) -> None:
    refusal = RefreshError("unauthorized_client: not allowed", {"error": "x"})  # type: ignore[no-untyped-call]
    for options, remedy in (
        ({}, "Make a new key"),
        ({"subject": "a@example.com"}, "domain-wide delegation"),
        ({"impersonate": "b@p.iam.gserviceaccount.com"}, "Service Account Token Creator"),
    ):
        error = credentials(key, **options).refused(refusal)
        assert isinstance(error, AuthenticationError)
        assert remedy in error.message
        assert "unauthorized_client" in error.message
    assert "gcloud auth" in credentials(None).refused(refusal).message


def test_a_sign_in_that_cannot_be_reached_is_temporary(key: Path) -> None:
    unreachable = TransportError("connection refused")  # type: ignore[no-untyped-call]
    assert isinstance(credentials(key).refused(unreachable), TransientError)


def test_an_expiry_without_a_time_zone_is_utc(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    current = credentials(key).current()
    current.expiry = datetime(2025, 1, 29, 10, 0)  # noqa: DTZ001 - as google-auth keeps it
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "America/New_York")
        time.tzset()
        assert expiry_of(current) == 1738144800.0
    time.tzset()
    current.expiry = None
    assert expiry_of(current) > 1738144800.0 + timedelta(days=365).total_seconds()
