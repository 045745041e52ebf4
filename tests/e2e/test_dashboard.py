"""The dashboard, walked in a browser as a person would, over the real service between the emulators."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from audio_extract import _engine
from audio_extract.cli.serving import web_server
from audio_extract.emulator.faults import Answer
from audio_extract.jobs import Service
from audio_extract.plan.companions import DOCUMENT
from support.engine import make_recording, wait_until
from support.service import BUCKET, World, world

GOOD = "Weekly Sync - 2025/02/28 10:00 UTC - Recording.mp4"
REFUSED = "Budget Review - 2025/02/27 09:00 UTC - Recording.mp4"
FORBIDDEN = Answer(status=403, reason="cannotDownloadFile")
#: What people and attackers call their recordings.
HOSTILE = (
    '<img src=x onerror="document.title=1">.mp4',
    "\"'><script>alert(1)</script>.mp4",
    "{{ 7 * 7 }} {% raw %} 🎙 Wöchentlich.mp4",
    "שלום \u202egnp.mp4",
    "two\nlines\tand \x07 bell.mp4",
    "x" * 251 + ".mp4",
)
#: A figure of progress that has moved, a rate, a time that is left.
PROGRESS = re.compile(r"[\d.]+ [kM]B of [\d.]+ MB · .+/s")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Path) -> Path:
    return make_recording(tmp_path_factory.mktemp("recording") / "meeting.mp4", ffmpeg, seconds=20)


@dataclass
class Stage:
    """The running service, and where its page is."""

    world: World
    service: Service
    url: str

    def stored(self) -> int:
        return self.service.tracker.stats().completed


@contextmanager
def running(here: World, overrides: dict[str, Any] | None = None, **web_options: float) -> Iterator[Stage]:
    ports = {"dashboard_port": 0, "health_port": 0, "database_path": str(here.directory / "audio.db")}
    settings = {**(overrides or {}), "monitoring": ports}
    with here.service(settings) as service, web_server(service, **web_options) as web:
        service.start()
        yield Stage(here, service, f"http://127.0.0.1:{web.ports['dashboard']}")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as found:
        yield found


@dataclass
class Visit:
    """A page, and what its browser had to complain of."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def visit(browser: Browser, stage: Stage, **options: Any) -> Iterator[Visit]:
    """Open the overview; at the end nothing was on the console, and nobody else was asked for anything."""
    context: BrowserContext = browser.new_context(base_url=stage.url, **options)
    context.set_default_timeout(20_000)
    page = context.new_page()
    seen = Visit(page)
    page.on("console", lambda line: seen.complaints.append(line.text) if line.type != "log" else None)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda request: seen.hosts.add(urlsplit(request.url).netloc))
    try:
        page.goto("/")
        yield seen
        assert seen.complaints == []
        assert seen.hosts <= {urlsplit(stage.url).netloc, urlsplit(stage.world.storage.url).netloc}
    finally:
        context.close()


def eventually(page: Page, expression: str) -> None:
    """Wait until an expression is true (Playwright's own way needs what the pages' policy forbids)."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never true: {expression}")


def row(page: Page, name: str, part: str = "#recent") -> Any:
    return page.locator(f"{part} tr").filter(has=page.get_by_role("link", name=name, exact=True))


def test_counts_that_take_long_are_right_in_the_end(
    here: World, browser: Browser, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing else makes the page look again.
    with running(here, health_seconds=600) as stage:
        # As with a million rows: such counts are kept for seconds.
        stats = stage.service.tracker.stats
        monkeypatch.setattr(
            stage.service.tracker, "stats", lambda: wait_until(lambda: False, 0.15) or stats()
        )
        with visit(browser, stage) as seen:
            stored = seen.page.locator("#numbers dd").first
            expect(stored).to_have_text("0")
            here.add(recording, GOOD)
            stage.service.discover()
            stage.service.dispatch_soon()
            expect(stored).to_have_text("1", timeout=30_000)


def test_a_transfer_is_seen_live_and_its_audio_plays_while_the_list_changes(
    browser: Browser, here: World, recording: Path
) -> None:
    here.drive.emulator.network.total_bytes_per_second = 200_000
    here.add(recording, GOOD)
    with running(here) as stage, visit(browser, stage) as seen:
        page = seen.page
        live = row(page, GOOD, "#live")
        first = live.locator("[data-text]").filter(has_text=PROGRESS).text_content()
        # It moves by itself: nobody loads the page again.
        expect(live.locator("[data-text]")).not_to_have_text(str(first))
        here.drive.emulator.network.total_bytes_per_second = None
        done = row(page, GOOD)
        expect(done.get_by_text("completed", exact=True)).to_be_visible()
        expect(page.locator("#numbers")).to_contain_text("stored1")
        expect(page.locator("#live")).to_contain_text("Nothing runs")
        done.get_by_role("button", name="Play").click()
        eventually(page, "document.querySelector('#player audio').currentTime > 0.5")
        here.add(recording, "Another.mp4")
        stage.service.discover()
        stage.service.dispatch_soon()
        expect(row(page, "Another.mp4").get_by_text("completed", exact=True)).to_be_visible()
        assert page.evaluate("!document.querySelector('#player audio').paused")
        assert page.evaluate("document.querySelector('#player audio').duration") == pytest.approx(20, abs=0.2)


def test_the_download_has_the_objects_name_and_bytes(
    browser: Browser, here: World, recording: Path, tmp_path: Path
) -> None:
    here.add(recording, GOOD)
    with running(here) as stage:
        assert wait_until(lambda: stage.stored() == 1, 30)
        with visit(browser, stage) as seen:
            with seen.page.expect_download() as found:
                row(seen.page, GOOD).get_by_role("link", name="Download").click()
            file = tmp_path / "downloaded"
            found.value.save_as(file)
            assert found.value.suggested_filename == "Weekly Sync_2025-02-28_10-00_audio.mp3"
        [audio] = here.objects()
        assert _engine.crc32c_file(str(file))[0] == here.storage.emulator.object(BUCKET, audio).crc32c


def test_one_more_output_is_made_from_the_page_and_plays(
    browser: Browser, here: World, recording: Path
) -> None:
    here.add(recording, GOOD)
    transcript = GOOD.replace("Recording.mp4", "Transcript")
    here.drive.emulator.add_file(b"Ann: hello", name=transcript, parent=here.folder, mime_type=DOCUMENT)
    with running(here) as stage:
        assert wait_until(lambda: stage.stored() == 1, 30)
        [audio] = here.objects()
        generation = here.storage.emulator.object(BUCKET, audio).generation
        with visit(browser, stage) as seen:
            page = seen.page
            # A picture of its sound stands in the list.
            expect(row(page, GOOD).locator("svg.wave path")).to_have_count(1)
            row(page, GOOD).get_by_role("link", name=GOOD, exact=True).click()
            expect(page.get_by_role("link", name=transcript)).to_have_attribute(
                "href", re.compile("^https://")
            )
            page.get_by_label("Make also").select_option("speech")
            page.get_by_label("as loud as").fill("-20")
            page.get_by_role("button", name="Make it").click()
            expect(page.get_by_role("status")).to_contain_text("done")
            assert wait_until(lambda: len(here.objects()) == 2 and stage.stored() == 1, 30)
            page.reload()
            page.get_by_role("button", name="Play speech").click()
            eventually(page, "document.querySelector('#player audio').currentTime > 0.3")
            with page.expect_download() as found:
                page.get_by_role("link", name="Download speech").click()
            assert found.value.suggested_filename.endswith("_audio_speech.flac")
            axe = Axe().run(page)
            assert axe.violations_count == 0, axe.generate_report()
        assert here.storage.emulator.object(BUCKET, audio).generation == generation


def test_the_link_is_copied_and_works_for_who_has_no_account_here(
    browser: Browser, here: World, recording: Path
) -> None:
    here.add(recording, GOOD)
    with running(here) as stage:
        assert wait_until(lambda: stage.stored() == 1, 30)
        with visit(browser, stage, permissions=["clipboard-read", "clipboard-write"]) as seen:
            row(seen.page, GOOD).get_by_role("button", name="Copy a link").click()
            expect(seen.page.get_by_role("status")).to_contain_text("Link copied.")
            link = seen.page.evaluate("navigator.clipboard.readText()")
        [name] = here.objects()
        stored = here.storage.emulator.object(BUCKET, name)
        assert httpx.get(link).content == stored.read()
        # Where a browser gives no clipboard (http, another machine), the link is there to copy by hand.
        with visit(browser, stage) as seen:
            seen.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
            row(seen.page, GOOD).get_by_role("button", name="Copy a link").click()
            expect(seen.page.get_by_role("textbox", name="The link")).to_have_value(link)


def test_a_failure_says_why_and_is_retried_to_success(browser: Browser, here: World, recording: Path) -> None:
    here.drive.emulator.faults.add(FORBIDDEN, kind="drive.media", times=None)
    here.add(recording, REFUSED)
    with running(here) as stage, visit(browser, stage) as seen:
        failed = row(seen.page, REFUSED, "#failed")
        expect(failed.locator(".cause")).to_be_visible()
        expect(failed.locator(".todo")).to_contain_text("To do:")
        failed.get_by_text("Detail").click()
        here.drive.emulator.faults.clear()
        failed.get_by_role("button", name="Retry").click()
        expect(row(seen.page, REFUSED).get_by_text("completed", exact=True)).to_be_visible()
        expect(seen.page.locator("#failed")).to_contain_text("Nothing failed.")
        row(seen.page, REFUSED).get_by_role("link", name=REFUSED, exact=True).click()
        expect(seen.page.locator(".trail")).to_contain_text("retried")
        expect(seen.page.locator(".stages")).to_contain_text("fetch.ranges")
    trail = {entry.event: entry.actor for entry in stage.service.tracker.audit()}
    assert trail["retried"] == "dashboard"


def test_everything_can_be_read_and_retried_without_javascript(
    browser: Browser, here: World, recording: Path
) -> None:
    here.drive.emulator.faults.add(
        Answer(status=403, reason="cannotDownloadFile"), kind="drive.media", times=1
    )
    here.add(recording, REFUSED)
    with running(here) as stage:
        assert wait_until(lambda: stage.service.tracker.stats().failed == 1, 30)
        here.add(recording, GOOD)
        stage.service.discover()
        stage.service.dispatch_soon()
        assert wait_until(lambda: stage.stored() == 1, 30)
        with visit(browser, stage, java_script_enabled=False) as seen:
            page = seen.page
            expect(row(page, GOOD)).to_contain_text("completed")
            assert (
                httpx.get(
                    stage.url
                    + str(row(page, GOOD).get_by_role("link", name="Audio link").get_attribute("href")),
                    follow_redirects=True,
                ).headers["content-type"]
                == "audio/mpeg"
            )
            row(page, REFUSED, "#failed").get_by_role("button", name="Retry").click()
            expect(page.get_by_role("heading", name=REFUSED)).to_be_visible()
            assert wait_until(lambda: stage.stored() == 2, 30)
            page.get_by_role("link", name="Recordings", exact=True).click()
            page.get_by_label("Name contains").fill("budget")
            page.get_by_role("button", name="Show").click()
            expect(page.locator("#list tbody tr")).to_have_count(1)
            page.get_by_role("link", name="Settings").click()
            expect(page.get_by_role("heading", name="google_drive")).to_be_visible()


def test_the_keyboard_alone_is_enough(browser: Browser, here: World, recording: Path) -> None:
    here.drive.emulator.faults.add(
        Answer(status=403, reason="cannotDownloadFile"), kind="drive.media", times=1
    )
    here.add(recording, REFUSED)
    with running(here) as stage:
        assert wait_until(lambda: stage.service.tracker.stats().failed == 1, 30)
        with visit(browser, stage) as seen:
            page = seen.page
            page.keyboard.press("Tab")
            expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
            page.keyboard.press("Enter")
            for _ in range(10):
                page.keyboard.press("Tab")
                focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
                if focused == f"Retry {REFUSED}":
                    break
            else:
                pytest.fail("the Retry button cannot be reached")
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            page.keyboard.press("Enter")
            expect(row(page, REFUSED).get_by_text("completed", exact=True)).to_be_visible()
            page.keyboard.press("/")
            expect(page.get_by_role("searchbox")).to_be_focused()
            page.keyboard.type("budget")
            page.keyboard.press("Enter")
            expect(page.locator("#list tbody tr")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_has_a_barrier_or_scrolls_sideways(
    browser: Browser, here: World, recording: Path, scheme: str, width: int
) -> None:
    here.drive.emulator.faults.add(
        Answer(status=403, reason="cannotDownloadFile"), kind="drive.media", times=1
    )
    here.add(recording, REFUSED)
    for name in (GOOD, *HOSTILE):
        here.add(recording, name)
    with running(here) as stage:
        assert wait_until(lambda: stage.stored() + stage.service.tracker.stats().failed == 8, 60)
        options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
        with visit(browser, stage, **options) as seen:
            page = seen.page
            one = stage.service.tracker.listing(limit=1).rows[0].id
            for path in ("/", "/recordings", "/recordings?status=failed", f"/recordings/{one}", "/settings"):
                page.goto(path)
                expect(page.locator("#overall")).to_have_text("🟢 healthy")
                found = Axe().run(page)
                assert found.violations_count == 0, f"{path}: {found.generate_report()}"
                assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_names_that_are_markup_stay_text(browser: Browser, here: World, recording: Path) -> None:
    for name in HOSTILE:
        here.add(recording, name)
    with running(here) as stage:
        assert wait_until(lambda: stage.stored() == len(HOSTILE), 60)
        with visit(browser, stage) as seen:
            for path, part in (("/", "#recent"), ("/recordings", "#list")):
                seen.page.goto(path)
                shown = seen.page.locator(f"{part} tbody th > a").all_text_contents()
                assert sorted(shown) == sorted(HOSTILE)
            assert seen.page.title().endswith("audio-extract")
            for found in stage.service.tracker.listing().rows:
                seen.page.goto(f"/recordings/{found.id}")
                assert seen.page.locator("h1").text_content() == found.name
