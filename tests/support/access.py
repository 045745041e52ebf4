"""What the tests of access share: accounts, a clock, and a dashboard that asks for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from audio_extract.settings.access_sections import Security
from audio_extract.web.access.passwords import hash_of
from audio_extract.web.access.policy import Access
from support.dashboard import Shown

PASSWORD = "correct horse battery staple"
OTHERS = "Schlüssel und Schloß"
TOKEN = "a-token-of-a-program-0123456789"
#: Made once: a hash takes its time.
USERS: list[dict[str, Any]] = [
    {"name": "ann", "password_hash": hash_of(PASSWORD), "role": "operator"},
    {"name": "bob", "password_hash": hash_of(OTHERS), "role": "viewer"},
]
PAGE = {"Accept": "text/html"}
#: As a browser's own forms arrive.
SAME = {"Sec-Fetch-Site": "same-origin"}


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


def security(**values: Any) -> Security:
    return Security.model_validate(values)


class Guarded:
    """A dashboard on loopback, and who may come in."""

    def __init__(self, folder: Path, access: Access) -> None:
        audio = Path(tempfile.mkdtemp(dir=folder)) / "weekly_audio.mp3"
        audio.write_bytes(bytes(range(200)))
        self.access = access
        self.shown = Shown(audio, access)

    @property
    def port(self) -> int:
        return self.shown.server.ports["dashboard"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **values: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, **values)


@contextmanager
def guarded(folder: Path, access: Access) -> Iterator[Guarded]:
    made = Guarded(folder, access)
    try:
        with made.shown.server, made.shown.tracker:
            yield made
    finally:
        access.close()


def sign_in(
    client: httpx.Client, name: str = "ann", password: str = PASSWORD, **values: str
) -> httpx.Response:
    return client.post(
        "/login", data={"name": name, "password": password, **values}, headers={**SAME, **PAGE}
    )
