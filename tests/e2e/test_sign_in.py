"""Signing in, in a browser, on a page that is neither loopback's nor HTTPS: as on a company's network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from audio_extract.web.access.policy import Access
from support.access import OTHERS, PASSWORD, USERS, Clock, Guarded, guarded, security
from support.dashboard import NOW
from support.engine import wait_until

#: A name that the browser is told to look up on this machine, so that it is no "secure context" for it.
HOST = "audio.example.com"


@pytest.fixture(scope="module")
def elsewhere(browser: Browser) -> Iterator[Browser]:
    launched = browser.browser_type.launch(
        executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
        args=[
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            f"--host-resolver-rules=MAP {HOST} 127.0.0.1",
        ],
    )
    yield launched
    launched.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def page(tmp_path: Path, clock: Clock) -> Iterator[Guarded]:
    access = Access(security(users=USERS), key_path=tmp_path / "key", now=clock)
    with guarded(tmp_path, access) as made:
        yield made
        made.shown.events.close()


def address(page: Guarded) -> str:
    return f"http://{HOST}:{page.port}"


def fill(shown: Page, name: str, password: str) -> None:
    shown.get_by_label("Name").fill(name)
    shown.get_by_label("Password").fill(password)
    shown.get_by_role("button", name="Sign in").click()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_person_signs_in_acts_and_signs_out(elsewhere: Browser, page: Guarded, scripts: bool) -> None:
    context = elsewhere.new_context(base_url=address(page), java_script_enabled=scripts)
    shown = context.new_page()
    bad = page.shown.ids["bad"]
    shown.goto(f"/recordings/{bad}")
    assert shown.url == f"{address(page)}/login?next=%2Frecordings%2F{bad}"
    fill(shown, "ann", "wrong")
    expect(shown.get_by_role("alert")).to_have_text("Name or password is wrong.")
    expect(shown.get_by_label("Name")).to_have_value("ann")
    fill(shown, "ann", PASSWORD)
    expect(shown).to_have_url(f"{address(page)}/recordings/{bad}")
    shown.get_by_role("button", name="Retry").first.click()
    # Without Sec-Fetch-Site, which browsers send to secure places only: Origin has to do.
    expect(shown.locator("main")).to_contain_text("pending")
    assert wait_until(lambda: page.shown.tracker.audit(bad)[-1].actor == "ann", 20)
    shown.get_by_role("button", name="Sign out").click()
    expect(shown).to_have_url(f"{address(page)}/login")
    shown.goto("/")
    assert shown.url == f"{address(page)}/login"
    context.close()


def test_a_page_of_another_site_cannot_act_for_somebody_who_is_signed_in(
    elsewhere: Browser, page: Guarded
) -> None:
    context = elsewhere.new_context()
    shown = context.new_page()
    shown.goto(f"{address(page)}/login")
    fill(shown, "ann", PASSWORD)
    expect(shown.get_by_role("button", name="Sign out")).to_be_visible()
    evil = context.new_page()
    evil.route(
        "http://evil.example/**",
        lambda route: route.fulfill(content_type="text/html", body=FORM.format(address(page))),
    )
    with evil.expect_response(f"{address(page)}/retry-failed") as answered:
        evil.goto("http://evil.example/")
    assert answered.value.status == 403
    assert page.shown.asked == []
    # The same from another port of the same host, whose requests carry the cookie.
    evil.route(
        f"http://{HOST}:1/**",
        lambda route: route.fulfill(content_type="text/html", body=FORM.format(address(page))),
    )
    with evil.expect_response(f"{address(page)}/retry-failed") as answered:
        evil.goto(f"http://{HOST}:1/")
    assert answered.value.status == 403
    assert page.shown.asked == []
    context.close()


FORM = '<form method="post" action="{0}/retry-failed"></form><script>document.forms[0].submit()</script>'


def test_whose_session_ends_while_they_look_gets_the_form_and_comes_back(
    elsewhere: Browser, page: Guarded, clock: Clock
) -> None:
    context = elsewhere.new_context(base_url=address(page))
    shown = context.new_page()
    shown.goto("/recordings")
    fill(shown, "bob", OTHERS)
    expect(shown).to_have_url(f"{address(page)}/recordings")
    clock.seconds += 13 * 3600
    # What happens makes the page look again.
    shown.evaluate("document.querySelector('header').dataset.old = 'yes'")
    page.shown.tracker.retry([page.shown.ids["bad"]], NOW, actor="x")
    expect(shown).to_have_url(f"{address(page)}/login?next=%2Frecordings", timeout=15_000)
    fill(shown, "bob", OTHERS)
    expect(shown).to_have_url(f"{address(page)}/recordings")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_form_has_no_barrier_and_takes_the_keyboard(
    elsewhere: Browser, page: Guarded, scheme: str, width: int
) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    context = elsewhere.new_context(base_url=address(page), **options)
    shown = context.new_page()
    complaints: list[str] = []
    shown.on("console", lambda line: complaints.append(line.text) if line.type != "log" else None)
    shown.goto("/login")
    expect(shown.get_by_label("Name")).to_be_focused()
    shown.keyboard.type("ann")
    shown.keyboard.press("Tab")
    shown.keyboard.type("wrong")
    found = Axe().run(shown)
    assert found.violations_count == 0, found.generate_report()
    assert complaints == []
    shown.keyboard.press("Enter")
    expect(shown.get_by_role("alert")).to_be_visible()
    found = Axe().run(shown)
    assert found.violations_count == 0, found.generate_report()
    expect(shown.get_by_label("Password")).to_be_focused()
    shown.keyboard.type(PASSWORD)
    shown.keyboard.press("Enter")
    expect(shown.get_by_role("button", name="Sign out")).to_be_visible()
    found = Axe().run(shown)
    assert found.violations_count == 0, found.generate_report()
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
