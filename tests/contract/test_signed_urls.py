"""V4 signed URLs, made by Google's client: what they allow, and that nothing else passes.

Documentation: https://cloud.google.com/storage/docs/access-control/signed-urls
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest
from google.oauth2 import service_account

from audio_extract.emulator import EmulatorServer, ServiceAccount, StorageEmulator
from support.google_api import BUCKET, Clock

NAME = "dev/2026/03/Töwn Hall #1 +50% ~_audio.mp3"
Server = EmulatorServer[StorageEmulator]


@pytest.fixture(scope="module")
def account() -> ServiceAccount:
    return ServiceAccount()


@pytest.fixture
def clock() -> Clock:
    """Google's client signs with the system's time."""
    clock = Clock()
    clock.now = datetime.now(UTC)
    return clock


@pytest.fixture
def sign(storage_server: Server, storage_client: Any, account: ServiceAccount) -> Callable[..., str]:
    storage_server.emulator.accounts.add(account)
    storage_server.emulator.accounts.require_tokens()
    storage_server.emulator.put_object(BUCKET, NAME, b"sound", content_type="audio/mpeg")
    credentials = service_account.Credentials.from_service_account_info(
        account.key_info(f"{storage_server.url}/token")
    )

    def make(name: str = NAME, **options: Any) -> str:
        blob = storage_client.bucket(BUCKET).blob(name)
        values = {"version": "v4", "expiration": timedelta(hours=1), "credentials": credentials, **options}
        return str(blob.generate_signed_url(api_access_endpoint=storage_server.url, **values))

    return make


def changed(url: str, **parameters: str) -> str:
    """The URL with other values for some of its parameters (``X_Goog_Expires`` for ``X-Goog-Expires``)."""
    parts = urlsplit(url)
    values = dict(parse_qsl(parts.query)) | {
        name.replace("_", "-"): value for name, value in parameters.items()
    }
    return urlunsplit(parts._replace(query=urlencode(values)))


def code(answer: httpx.Response) -> str:
    assert answer.headers["content-type"].startswith("application/xml")
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


def test_a_signed_url_gives_the_object_without_credentials(
    sign: Callable[..., str], web: httpx.Client
) -> None:
    answer = web.get(sign())
    assert (answer.status_code, answer.content) == (200, b"sound")
    assert answer.headers["content-type"] == "audio/mpeg"
    part = web.get(sign(), headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.content) == (206, b"ou")


def test_a_signed_url_may_set_headers_of_the_answer(sign: Callable[..., str], web: httpx.Client) -> None:
    answer = web.get(sign(response_disposition='attachment; filename="a.mp3"', response_type="audio/x-test"))
    assert answer.headers["content-disposition"] == 'attachment; filename="a.mp3"'
    assert answer.headers["content-type"] == "audio/x-test"


def test_each_method_needs_its_own_signature(
    sign: Callable[..., str], web: httpx.Client, storage_emulator: StorageEmulator
) -> None:
    assert web.head(sign(method="HEAD")).headers["content-length"] == "5"
    headers = {"Content-Type": "audio/ogg", "x-goog-meta-plan-id": "7"}
    put = web.put(sign(method="PUT", headers=headers), content=b"new", headers=headers)
    assert put.status_code == 200, put.text
    found = storage_emulator.object(BUCKET, NAME)
    assert (found.read(), found.content_type, found.metadata) == (b"new", "audio/ogg", {"plan-id": "7"})
    assert put.headers["x-goog-generation"] == str(found.generation)
    assert web.delete(sign(method="DELETE")).status_code == 204
    assert (web.get(sign()).status_code, code(web.get(sign()))) == (404, "NoSuchKey")


def other_method(url: str, web: httpx.Client) -> httpx.Response:
    return web.delete(url)


def other_path(url: str, web: httpx.Client) -> httpx.Response:
    return web.get(url.replace("2026", "2025"))


def other_bucket(url: str, web: httpx.Client) -> httpx.Response:
    return web.get(url.replace(f"/{BUCKET}/", "/another/"))


def other_host(url: str, web: httpx.Client) -> httpx.Response:
    return web.get(url, headers={"Host": "elsewhere.example.com"})


def other_expiry(url: str, web: httpx.Client) -> httpx.Response:
    return web.get(changed(url, X_Goog_Expires="604800"))


def other_date(url: str, web: httpx.Client) -> httpx.Response:
    signed = datetime.strptime(dict(parse_qsl(url))["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    later = signed.replace(second=(signed.second + 1) % 60)
    return web.get(changed(url, X_Goog_Date=later.strftime("%Y%m%dT%H%M%SZ")))


def other_signature(url: str, web: httpx.Client) -> httpx.Response:
    return web.get(url[:-1] + ("0" if url[-1] != "0" else "1"))


def other_account(url: str, web: httpx.Client) -> httpx.Response:
    credential = dict(parse_qsl(url))["X-Goog-Credential"].partition("/")[2]
    return web.get(changed(url, X_Goog_Credential=f"someone@example.com/{credential}"))


def more_parameters(url: str, web: httpx.Client) -> httpx.Response:
    return web.get(f"{url}&response-content-type=text/html")


def without_signature(url: str, web: httpx.Client) -> httpx.Response:
    return web.get(url.partition("?")[0])


TAMPERINGS = [
    other_method,
    other_path,
    other_bucket,
    other_host,
    other_expiry,
    other_date,
    other_signature,
    other_account,
    more_parameters,
    without_signature,
]


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=[function.__name__ for function in TAMPERINGS])
def test_a_signed_url_that_was_tampered_with_is_refused(
    sign: Callable[..., str],
    web: httpx.Client,
    storage_emulator: StorageEmulator,
    tamper: Callable[[str, httpx.Client], httpx.Response],
) -> None:
    url = sign()
    assert web.get(url).status_code == 200
    answer = tamper(url, web)
    assert answer.status_code == 403
    assert code(answer) == ("AccessDenied" if tamper is without_signature else "SignatureDoesNotMatch")
    assert storage_emulator.object(BUCKET, NAME).read() == b"sound"


@pytest.mark.parametrize("header", ["changed", "left out"])
def test_a_signed_header_must_be_sent_as_it_was_signed(
    sign: Callable[..., str], web: httpx.Client, header: str
) -> None:
    url = sign(method="PUT", headers={"x-goog-meta-plan-id": "7"})
    sent = {"x-goog-meta-plan-id": "8"} if header == "changed" else {}
    assert web.put(url, content=b"new", headers=sent).status_code == 403
    assert web.put(url, content=b"new", headers={"x-goog-meta-plan-id": "7"}).status_code == 200


def test_a_precondition_can_be_signed(sign: Callable[..., str], web: httpx.Client) -> None:
    only_new = {"x-goog-if-generation-match": "0"}
    answer = web.put(sign(method="PUT", headers=only_new), content=b"new", headers=only_new)
    assert (answer.status_code, code(answer)) == (412, "PreconditionFailed")
    assert (
        web.put(sign("new name", method="PUT", headers=only_new), content=b"1", headers=only_new).status_code
        == 200
    )


def test_an_expired_url_is_refused(sign: Callable[..., str], web: httpx.Client, clock: Clock) -> None:
    # https://cloud.google.com/storage/docs/xml-api/reference-status: ExpiredToken is a 400.
    url = sign(expiration=timedelta(minutes=5))
    clock.advance(seconds=295)
    assert web.get(url).status_code == 200
    clock.advance(seconds=6)
    answer = web.get(url)
    assert (answer.status_code, code(answer)) == (400, "ExpiredToken")


def test_a_url_from_the_future_is_refused(sign: Callable[..., str], web: httpx.Client, clock: Clock) -> None:
    url = sign()
    clock.advance(minutes=-20)
    assert (web.get(url).status_code, code(web.get(url))) == (403, "AccessDenied")


def test_the_key_of_another_account_does_not_sign(
    sign: Callable[..., str], web: httpx.Client, storage_server: Server, account: ServiceAccount
) -> None:
    # The same address with a new key: the old key was deleted.
    url = sign()
    storage_server.emulator.accounts.add(ServiceAccount(account.email))
    assert web.get(url).status_code == 403
    storage_server.emulator.accounts.remove(account.email)
    assert web.get(url).status_code == 403


#: (parameter, value)
MALFORMED = [
    ("X_Goog_Expires", "0"),
    ("X_Goog_Expires", "604801"),
    ("X_Goog_Expires", "soon"),
    ("X_Goog_Date", "yesterday"),
    ("X_Goog_Credential", "someone@example.com"),
    ("X_Goog_Algorithm", "GOOG4-HMAC-SHA256"),
    ("X_Goog_SignedHeaders", "x-goog-meta-a"),
    ("X_Goog_Signature", "not hex"),
]


@pytest.mark.parametrize(("parameter", "value"), MALFORMED)
def test_a_malformed_signature_is_a_bad_request(
    sign: Callable[..., str], web: httpx.Client, parameter: str, value: str
) -> None:
    assert web.get(changed(sign(), **{parameter: value})).status_code == 400


def test_without_required_tokens_a_plain_address_works(storage_server: Server, web: httpx.Client) -> None:
    # What INTERFACE promises where nothing can sign.
    storage_server.emulator.put_object(BUCKET, "a b.mp3", b"sound")
    assert web.get(f"{storage_server.url}/{BUCKET}/a%20b.mp3").content == b"sound"
    assert code(web.get(f"{storage_server.url}/nowhere/a")) == "NoSuchBucket"
    assert (
        code(web.get(f"{storage_server.url}/{BUCKET}/a%20b.mp3", headers={"Range": "bytes=9-"}))
        == "InvalidRange"
    )
