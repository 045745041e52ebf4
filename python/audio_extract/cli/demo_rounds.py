"""The three rounds of ``demo --once``, and what must be true after each.

First round: every good sample is stored and verified, every bad one failed. Second: nothing moves. Third,
after the database was deleted: everything that stands in the bucket is adopted, and nothing is written twice.
What moved is counted at the emulators, not by the service itself.
"""

from __future__ import annotations

import threading
from html import unescape
from typing import TYPE_CHECKING
from urllib.request import urlopen

from audio_extract.cli.assembly import open_service, open_traces, set_up_logs
from audio_extract.cli.demo_stage import PREFIX
from audio_extract.cli.serving import web_server
from audio_extract.cli.trace import trace_link
from audio_extract.cli.verification import Verifier, same_objects
from audio_extract.failure_texts import failure_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audio_extract.cli.demo_stage import Stage
    from audio_extract.cli.invocation import Invocation
    from audio_extract.jobs.service import Service
    from audio_extract.jobs.transfer import Outcome
    from audio_extract.web.server import WebServer


class Rounds:
    """Runs them."""

    def __init__(self, stage: Stage, invocation: Invocation, ffmpeg: Path) -> None:
        self._stage = stage
        self._invocation = invocation
        self._ffmpeg = ffmpeg
        self._service: Service | None = None
        self._stopping = threading.Event()
        self._stored = 0
        self._failed = 0
        self._moved: tuple[int, int] | None = None
        self._adopted = 0

    def stop(self) -> None:
        """End the round that runs."""
        self._stopping.set()
        if self._service is not None:
            self._service.stop(0)

    def all(self) -> list[str]:
        """Run the rounds and return what is wrong."""
        set_up_logs(self._stage.settings, self._invocation)
        traces = open_traces(self._stage.settings)
        problems: list[str] = []
        try:
            for carry_out in (self._first, self._second, self._third):
                if self._stopping.is_set():
                    break
                with open_service(self._stage.settings, traces=traces) as service, web_server(service) as web:
                    self._service = service
                    problems.extend(carry_out(service, web))
                self._service = None
                if carry_out == self._second:
                    self._forget_everything()
        finally:
            traces.close()
        return problems

    def summary(self) -> str:
        """Return the last line: the counts."""
        good, bad = len(self._stage.good), len(self._stage.bad)
        downloads, uploads = self._moved or (-1, -1)
        return (
            f"demo: {self._stored} of {good} recordings stored and verified · "
            f"{self._failed} of {bad} unusable ones failed with a reason · "
            f"second run: {downloads} downloads, {uploads} uploads · "
            f"without the database: {self._adopted} of {good} adopted"
        )

    def _first(self, service: Service, web: WebServer) -> Iterator[str]:
        report = service.run_once(on_outcome=self._say)
        verifier = self._verifier(service)
        self._invocation.say("verifying with Google's client and FFmpeg's decoder")
        for expected in self._stage.expected:
            problems = verifier.problems([expected])
            yield from problems
            if not problems and expected.error_code is None:
                self._stored += 1
            elif not problems:
                self._failed += 1
        self._say_trace(service)
        yield from (f"looking for recordings: {error.message}" for error in report.source_errors)
        if len(verifier.objects()) != len(self._stage.good):
            yield f"the bucket holds {len(verifier.objects())} audio objects, not {len(self._stage.good)}"
        yield from self._page(service, web)

    def _second(self, service: Service, _web: WebServer) -> Iterator[str]:
        verifier = self._verifier(service)
        before = verifier.objects()
        self._stage.reset_counters()
        self._invocation.say("second run: nothing may move")
        service.run_once()
        self._moved = (self._stage.downloads_of(self._stage.expected), self._stage.uploads())
        if self._moved != (0, 0):
            yield f"the second run made {self._moved[0]} downloads and {self._moved[1]} uploads"
        yield from same_objects(before, verifier.objects())

    def _third(self, service: Service, _web: WebServer) -> Iterator[str]:
        verifier = self._verifier(service)
        before = verifier.objects()
        self._stage.reset_counters()
        self._invocation.say("third run, without the database: everything is adopted")
        self._adopted = service.run_once().adopted
        if self._adopted != len(self._stage.good):
            yield f"without the database {self._adopted} objects were adopted, not {len(self._stage.good)}"
        downloads = self._stage.downloads_of(self._stage.good)
        if downloads or self._stage.uploads():
            yield f"adopting made {downloads} downloads and {self._stage.uploads()} uploads"
        yield from same_objects(before, verifier.objects())
        yield from verifier.problems(self._stage.expected)

    def _page(self, service: Service, web: WebServer) -> Iterator[str]:
        """Look at the dashboard as a browser does: every name on it, and one audio link that plays."""
        address = f"http://{web.host_of('dashboard')}:{web.ports['dashboard']}"
        with urlopen(f"{address}/") as answer:  # noqa: S310 - our own page
            page = unescape(answer.read().decode())
        for expected in self._stage.expected:
            if expected.name not in page:
                yield f"{expected.name}: the page does not list it"
        stored = service.tracker.find(self._stage.good[0].source_id)
        if stored is None or stored.status != "completed":
            return
        with urlopen(f"{address}/recordings/{stored.id}/audio") as answer:  # noqa: S310
            size = len(answer.read())
        if size != stored.stored_size_bytes:
            yield f"{stored.name}: the audio link gives {size} bytes, not {stored.stored_size_bytes}"

    def _say(self, outcome: Outcome) -> None:
        name = outcome.claim.name
        if outcome.error is None:
            self._invocation.say(f"stored  {name}")
        else:
            self._invocation.say(f"failed  {failure_text(outcome.error.code, name, outcome.error.message)}")

    def _say_trace(self, service: Service) -> None:
        stored = service.tracker.find(self._stage.good[0].source_id)
        if stored is not None and stored.trace_id is not None:
            link = trace_link(self._stage.settings, stored.trace_id) or stored.trace_id
            self._invocation.say(f"the trace of {stored.name}: {link}")

    def _forget_everything(self) -> None:
        for path in self._stage.folder.glob("audio-extract.db*"):
            path.unlink()

    def _verifier(self, service: Service) -> Verifier:
        return Verifier(service.tracker, self._stage.bucket(), PREFIX, self._ffmpeg)
