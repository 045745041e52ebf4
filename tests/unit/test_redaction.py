from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_extract.exceptions import TransientError
from audio_extract.telemetry import redaction
from audio_extract.telemetry.redaction import MASK, redact, redact_value

SECRETS = {
    "bearer header": ("GET / Authorization: Bearer abc.DEF-123456", "abc.DEF-123456"),
    "google token alone": ("got ya29.a0AfH6SMBx-y_z from the server", "a0AfH6SMBx"),
    "json web token": ("assertion eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJtZSJ9.c2ln ok", "eyJpc3MiOiJtZSJ9"),
    "signed url": (
        "https://storage.googleapis.com/b/o?X-Goog-Date=1&X-Goog-Signature=deadbeef01",
        "deadbeef01",
    ),
    "signing account": ("https://h/o?X-Goog-Credential=me%40p.iam%2F2026&X-Goog-Date=1", "me%40p.iam"),
    "upload session": (
        "POST https://h/upload/storage/v1/b/x/o?uploadType=resumable&upload_id=ABg5-xyz",
        "ABg5-xyz",
    ),
    "database url": ("postgresql+psycopg://service:hunter2@db/audio", "hunter2"),
    "private key": ("-----BEGIN PRIVATE KEY-----\nMIIEv\n-----END PRIVATE KEY-----", "MIIEv"),
    "cut private key": ("-----BEGIN RSA PRIVATE KEY-----\nMIIEvZ", "MIIEvZ"),
    "key file as json": ('{"private_key": "-----BEGIN\\nMIIE\\"x", "client_email": "a@b"}', "MIIE"),
    "password in text": ("smtp_password=hunter2, smtp_user=me", "hunter2"),
    "refresh token": ('{"refresh_token": "1//0abc", "scope": "drive"}', "1//0abc"),
}


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_is_masked_wherever_it_stands_in_a_text(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "could not read /home/me/service-account.json: no such file",
        "storage.gcs.credentials_path: /run/secrets/key.json",
        "Weekly sync (2025-01-29 at 10:00 GMT-5).mp4",
        "https://storage.googleapis.com/bucket/dev/2026/01/a_audio.mp3",
        "drive file 1AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    ],
)
def test_what_people_need_to_see_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "name", ["smtp_password", "token", "api_key", "Authorization", "private_key", "cookies"]
)
def test_a_secret_name_masks_any_text_under_it(name: str) -> None:
    assert redact_value(name, "anything") == MASK
    assert redact_value("outer", {"inner": {name: ["anything"]}}) == {"inner": {name: MASK}}


def test_numbers_under_a_secret_name_stay_numbers() -> None:
    assert redact_value("token", 3) == 3


@given(st.text())
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


def test_what_settings_declare_secret_is_masked_whatever_it_looks_like(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redaction, "_known", ())
    redaction.protect(
        [
            "plainsecret",
            "plainsecret-and-more",
            "https://me:pass%2Fword@example.com/hooks/T0123456789?x=querysecret",
            "short",
        ]
    )
    text = (
        "plainsecret plainsecret-and-more example.com/hooks/T0123456789?y=querysecret "
        "pass/word pass%2Fword short"
    )
    assert redaction.redact(text) == (
        "[redacted] [redacted] example.com/hooks/[redacted]?y=[redacted] [redacted] [redacted] short"
    )


def test_the_message_of_an_error_holds_no_secret_that_a_server_echoes() -> None:
    error = TransientError("it said: Bearer abcdefgh12345678", ffmpeg_tail="?access_token=abc")
    assert error.message == str(error) == "it said: Bearer [redacted]"
    assert error.ffmpeg_tail == "?access_token=[redacted]"
