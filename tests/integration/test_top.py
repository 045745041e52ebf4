"""``audio-extract top`` in a real terminal, against a dashboard that listens."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from audio_extract.settings.access_sections import Security
from audio_extract.web.access.policy import Access
from audio_extract.web.health import ComponentHealth, Status
from support.cli import Outcome, run_cli
from support.dashboard import Shown, running
from support.terminal import Terminal, audio_extract, terminal

#: As a terminal shows support.dashboard's name of all evils.
SPELLED = '<script>alert("x")</script> & "Wöchentlich" 🎙\\n\\u202egnp.exe'


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Shown]:
    audio = tmp_path / "weekly_audio.mp3"
    audio.write_bytes(b"sound")
    made = Shown(audio)
    with made.server, made.tracker:
        yield made


def url_of(service: Shown) -> str:
    return f"http://127.0.0.1:{service.server.ports['dashboard']}"


def is_clean(screen: Terminal) -> bool:
    """Whether the terminal is as it was: its settings, the cursor, the screen with what stood there."""
    last_on, last_off = screen.raw.rindex("\x1b[?1049h"), screen.raw.rindex("\x1b[?1049l")
    cursor_on, cursor_off = screen.raw.rindex("\x1b[?25h"), screen.raw.rindex("\x1b[?25l")
    return screen.settings() == screen.before and last_off > last_on and cursor_on > cursor_off


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_top_shows_the_service_as_it_changes_and_retries_what_failed(
    service: Shown, tmp_path: Path, columns: int, lines: int
) -> None:
    with terminal(*audio_extract("top", "--url", url_of(service)), columns=columns, lines=lines) as screen:
        shown = screen.wait_for("q quit")
        rows = shown.splitlines()
        assert len(rows) == lines
        assert "🟢 healthy" in rows[1]
        assert "5 stored" in rows[2]
        assert "1 failed" in rows[2]
        assert any(SPELLED in row and "transfer" in row for row in rows)
        assert "25%" in shown
        assert "The recording has no sound. To do:" in shown
        assert "r4.mp4" in shown
        service.active[:] = running(0.75)
        screen.wait_for("75%")
        service.component = ComponentHealth(Status.UNHEALTHY, "no space left", "make room")
        service.health.refresh()
        shown = screen.wait_for("🔴 storage is unhealthy: No space left. No audio can be stored")
        assert "To do: make room." in shown
        service.component = ComponentHealth(Status.HEALTHY, "fine")
        service.health.refresh()
        screen.wait_for("🟢 healthy")

        screen.press("r")
        screen.wait_for("Try 1 recording that failed again?")
        screen.press("n")
        screen.wait_for("q quit")
        assert service.asked == []
        screen.press("\x1b[A")
        screen.press("r")
        screen.wait_for("Try 1 recording that failed again?")
        screen.press("y")
        screen.wait_for("1 due now")
        screen.wait_for("0 failed")
        assert service.asked == ["due"]
        screen.press("r")
        screen.wait_for("nothing failed")
        screen.press("q")
        assert screen.wait() == 0
        assert is_clean(screen)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_top_and_leaves_a_clean_terminal(service: Shown, number: int, code: int) -> None:
    with terminal(*audio_extract("top", "--url", url_of(service))) as screen:
        screen.wait_for("q quit")
        if number == signal.SIGINT:
            screen.press("\x03")
        else:
            screen.process.send_signal(number)
        assert screen.wait() == code
        assert is_clean(screen)
        assert "Traceback" not in screen.raw


def test_top_can_be_suspended_and_goes_on(service: Shown) -> None:
    with terminal(*audio_extract("top", "--url", url_of(service))) as screen:
        screen.wait_for("q quit")
        screen.press("\x1a")
        _, status = os.waitpid(screen.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        screen.drain()
        assert is_clean(screen)
        screen.process.send_signal(signal.SIGCONT)
        service.active[:] = running(0.5)
        screen.wait_for("50%")
        screen.press("q")
        assert screen.wait() == 0
        assert is_clean(screen)


def test_a_smaller_terminal_still_shows_the_head_and_the_keys(service: Shown) -> None:
    with terminal(*audio_extract("top", "--url", url_of(service))) as screen:
        screen.wait_for("q quit")
        screen.resize(40, 8)
        screen.wait_for_lines(8)
        rows = screen.shown().splitlines()
        assert "🟢 healthy" in rows[1]
        assert "q quit" in rows[-1]
        screen.press("q")
        assert screen.wait() == 0


def test_a_service_that_goes_away_is_said_and_seen_again_when_it_is_back(tmp_path: Path) -> None:
    audio = tmp_path / "weekly_audio.mp3"
    audio.write_bytes(b"sound")
    service = Shown(audio)
    with service.tracker:
        service.server.start()
        with terminal(*audio_extract("top", "--url", url_of(service)), columns=160) as screen:
            screen.wait_for("🟢 healthy")
            port = service.server.ports["dashboard"]
            service.server.stop()
            shown = screen.wait_for("No service answers at")
            assert "To do: start it (audio-extract run)" in shown
            assert "r4.mp4" in shown
            again = service.listening_on(port)
            with again:
                screen.wait_for("🟢 healthy")
                screen.press("q")
                assert screen.wait() == 0


def top(folder: Path, *words: str, env: dict[str, str] | None = None) -> Outcome:
    return run_cli("top", *words, cwd=folder, env=env)


def test_without_a_terminal_top_prints_one_picture(service: Shown, tmp_path: Path) -> None:
    done = top(tmp_path, "--url", url_of(service))
    assert (done.code, done.err) == (0, "")
    assert SPELLED in done.out
    assert "🟢 healthy" in done.out
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out


def test_top_as_json_has_the_shapes_of_the_api(service: Shown, tmp_path: Path) -> None:
    done = top(tmp_path, "--url", url_of(service), "--json")
    values = json.loads(done.out)
    assert values.keys() == {"health", "active", "stats", "failed", "recent", "problems"}
    assert (values["health"]["status"], values["problems"]) == ("healthy", {})
    assert [row["status"] for row in values["failed"]] == ["quarantined"]
    assert values["stats"]["completed"] == 5
    assert values["active"][0]["fraction"] == 0.25


def configure(folder: Path, port: int, more: str = "") -> None:
    (folder / "audio_extract_config.yaml").write_text(
        f"monitoring: {{database_path: tracker.db, dashboard_port: {port}{more}}}\n"
        "google_drive: {recordings_folder_id: x}\nstorage: {type: gcs, gcs: {bucket_name: audio}}\n"
    )


def free_port() -> int:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return int(server.server_address[1])


def test_where_no_service_runs_the_database_is_shown_and_the_error_says_what_to_do(
    service: Shown, tmp_path: Path
) -> None:
    port = free_port()
    configure(tmp_path, port)
    done = top(tmp_path)
    assert done.code == 5
    assert f"no service answers at http://127.0.0.1:{port}: Connection refused" in done.err
    assert "to do: start it (audio-extract run)" in done.err
    assert "no service runs; this is what" in done.out
    assert "5 stored" in done.out
    assert "Failed (1)" in done.out
    as_json = top(tmp_path, "--json")
    assert (as_json.code, json.loads(as_json.out)["stats"]["failed"]) == (5, 1)
    # Another service's database is not ours.
    elsewhere = top(tmp_path, "--url", f"http://127.0.0.1:{port}")
    assert (elsewhere.code, elsewhere.out) == (5, "")


def test_where_neither_service_nor_database_can_be_asked_both_are_said(tmp_path: Path) -> None:
    configure(tmp_path, free_port())
    done = top(tmp_path)
    assert done.code == 5
    assert "holds nothing yet" in done.err
    assert "no service answers" in done.err


@pytest.mark.parametrize(
    ("port", "more", "text"),
    [(0, "", "dashboard_port is 0"), (8080, ", enable_dashboard: false", "enable_dashboard is false")],
)
def test_settings_that_do_not_say_where_the_service_is_are_an_error_that_names_them(
    tmp_path: Path, port: int, more: str, text: str
) -> None:
    configure(tmp_path, port, more)
    done = top(tmp_path)
    assert (done.code, text in done.err, "--url" in done.err) == (2, True, True)


def test_who_sends_no_token_is_told_how_and_a_viewer_can_only_look(tmp_path: Path) -> None:
    audio = tmp_path / "weekly_audio.mp3"
    audio.write_bytes(b"sound")
    token = "a-token-of-the-tests"
    security = Security.model_validate({"tokens": [{"name": "watch", "token": token}]})
    service = Shown(audio, Access(security))
    with service.server, service.tracker:
        url = url_of(service)
        refused = top(tmp_path, "--url", url)
        assert (refused.code, refused.out) == (3, "")
        assert "wants to know who asks: sign in first, or send a token" in refused.err
        assert "AUDIO_EXTRACT_TOKEN" in refused.err
        assert top(tmp_path, "--url", url, "--token", "another-token").code == 3
        # As the link that is printed at the start has it, and as the service's own settings do.
        assert top(tmp_path, "--url", f"{url}/?token={token}").code == 0
        configure(tmp_path, service.server.ports["dashboard"])
        own = json.dumps([{"name": "watch", "token": token}])
        assert top(tmp_path, env={"AUDIO_EXTRACT__SECURITY__TOKENS": own}).code == 0
        words = audio_extract("top", "--url", url)
        with terminal(*words, columns=160, env={"AUDIO_EXTRACT_TOKEN": token}) as screen:
            screen.wait_for("1 failed")
            screen.press("r")
            screen.wait_for("Try 1")
            screen.press("y")
            screen.wait_for("not done")
            assert "watch may see, but not do this: it takes an operator" in screen.shown()
            screen.press("q")
            assert screen.wait() == 0
        assert service.asked == []


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[str | None]]]:
    """A server that gives everybody one answer; and the Authorization headers it got."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (401, b'{"detail": "sign in first"}', 3, "AUDIO_EXTRACT_TOKEN"),
        (403, b'{"detail": "it takes an operator"}', 3, "it takes an operator"),
        (503, b'{"detail": "the database does not answer"}', 5, "the database does not answer"),
        (404, b"nothing here", 2, "is not the page of this version of audio-extract"),
        (302, b"", 2, "is not the page of this version of audio-extract"),
        (200, b"<html>another program</html>", 2, "is not the page of this version of audio-extract"),
        (200, b'{"status": "fine"}', 2, "is not what this version of audio-extract expects"),
        (200, b"[" * 100_000, 2, "is not the page of this version of audio-extract"),
    ],
)
def test_whatever_else_answers_is_an_error_that_says_what_to_do(
    tmp_path: Path, status: int, body: bytes, code: int, text: str
) -> None:
    with answering(status, body) as (url, seen):
        done = top(tmp_path, "--url", url, env={"AUDIO_EXTRACT_TOKEN": "tok-canary-1"})
    assert (done.code, text in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
    assert seen == ["Bearer tok-canary-1"]
    assert "canary" not in done.out + done.err


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://x:99999", "http://[::1"])
def test_an_address_that_is_none_is_a_usage_error(tmp_path: Path, url: str) -> None:
    done = top(tmp_path, "--url", url)
    assert (done.code, "--url" in done.err) == (2, True), done.err
