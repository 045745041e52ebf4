"""Pictures of the pages for README: the real service, a month of meetings behind it (`make screenshots`)."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, ViewportSize, expect, sync_playwright

from audio_extract.cli.serving import web_server
from audio_extract.emulator.faults import Answer
from audio_extract.tracker import Owner, RetryPolicy, Tracker
from support.engine import make_recording, wait_until
from support.recordings import recording, stored
from support.service import World, world

MEETINGS = (
    "Weekly Sync",
    "Design Review",
    "Customer Interview",
    "Town Hall",
    "Budget Review",
    "Retrospective",
)


def main(target: Path) -> None:
    """Make the pictures."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as here:
        here.now, here.real_time = datetime.now(UTC), True
        month_before(here)
        ffmpeg = Path(shutil.which("ffmpeg") or sys.exit("ffmpeg is not installed"))
        one = make_recording(Path(folder) / "meeting.mp4", ffmpeg, seconds=240)
        ports = {"dashboard_port": 0, "health_port": 0}
        with here.service({"monitoring": ports}) as service, web_server(service) as web:
            forbidden = Answer(status=403, reason="cannotDownloadFile")
            here.drive.emulator.faults.add(forbidden, kind="drive.media", times=1)
            here.add(one, name_of(here, "Board Meeting", 30))
            service.run_once()
            for number, title in enumerate(MEETINGS[:4]):
                here.add(one, name_of(here, title, 60 * (number + 2)))
            service.run_once()
            here.drive.emulator.network.total_bytes_per_second = 900_000
            for title in ("Sprint Planning", "Hiring Committee"):
                here.add(one, name_of(here, title, 5))
            service.start()
            assert wait_until(lambda: len(service.active) == 2, 20)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"),
                    args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
                )
                take(browser, f"http://127.0.0.1:{web.ports['dashboard']}", target)
                browser.close()
            here.drive.emulator.network.total_bytes_per_second = None


def take(browser: Browser, url: str, target: Path) -> None:
    """Look at the pages in light and dark, on a desk and in a hand."""
    desk, hand = ViewportSize(width=1280, height=1000), ViewportSize(width=390, height=844)
    views: list[tuple[str, Literal["light", "dark"], ViewportSize]] = [
        ("dashboard", "light", desk),
        ("dashboard-dark", "dark", desk),
        ("phone", "dark", hand),
    ]
    for name, scheme, viewport in views:
        page = browser.new_page(base_url=url, color_scheme=scheme, viewport=viewport)
        page.goto("/")
        expect(page.locator("#overall")).to_be_visible()
        expect(page.locator("#live [data-text]").first).to_contain_text("/s")
        page.screenshot(path=target / f"{name}.png")
        if name == "dashboard":
            page.locator("#recent tbody th > a", has_text="Weekly Sync").first.click()
            expect(page.locator(".stages")).to_be_visible()
            page.screenshot(path=target / "recording.png")
        page.close()


def name_of(here: World, title: str, minutes_ago: int) -> str:
    """A recording's name as Meet gives it."""
    return f"{title} - {here.now - timedelta(minutes=minutes_ago):%Y/%m/%d %H:%M} UTC - Recording.mp4"


def month_before(here: World) -> None:
    """What the database remembers of a month."""
    chance, me = random.Random(3), Owner.current()  # noqa: S311 - not a secret
    with Tracker.open(str(here.directory / "audio.db")) as tracker:
        for days in range(29, 0, -1):
            day = here.now - timedelta(days=days)
            for number in range(0 if day.weekday() > 4 else chance.randint(2, 9)):
                tracker.record(
                    [recording(f"{days}-{number}", size_bytes=chance.randint(90, 480) * 1_000_000)], day
                )
                [claim] = tracker.claim(me, day)
                if chance.random() < 0.07:
                    tracker.fail(
                        claim, day, code="media.no_audio", kind="media", message="", policy=RetryPolicy()
                    )
                    tracker.forget([claim.id], day) if days % 2 else None
                    continue
                seconds = chance.uniform(900, 5400)
                done = stored(
                    f"dev/{days}-{number}.mp3", audio_seconds=seconds, size_bytes=int(seconds * 16_000)
                )
                tracker.complete(claim, done, day)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
