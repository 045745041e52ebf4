from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from audio_extract.cli.errors import Interrupted
from audio_extract.cli.interrupt import run_interruptible
from audio_extract.cli.invocation import Invocation, LogFormat, command
from audio_extract.exceptions import ERROR_KINDS, AudioExtractError, ConfigurationError, TransientError


def app_of(function: Callable[..., None]) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command(function))
    app.command("other")(lambda: None)
    return app


def run(function: Callable[..., None], *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app_of(function), [function.__name__, *words])
    return result.exit_code, result.output


def test_the_shared_flags_are_accepted_after_the_commands_words() -> None:
    seen: list[Invocation] = []

    def work(invocation: Invocation, *, word: str, number: Annotated[int, typer.Option()] = 1) -> None:
        assert (word, number) == ("x", 2)
        seen.append(invocation)

    code, output = run(
        work, "x", "--number", "2", "--config", "f.yaml", "--yes", "-vv", "--log-format", "json"
    )
    assert code == 0, output
    [invocation] = seen
    assert invocation.config == Path("f.yaml")
    assert invocation.assume_yes
    assert invocation.verbosity == 2
    assert invocation.log_format == LogFormat.JSON
    assert invocation.show_traceback


def test_quiet_wins_over_verbose() -> None:
    def work(invocation: Invocation) -> None:
        assert invocation.verbosity == -1

    assert run(work, "-q", "-v")[0] == 0


@pytest.mark.parametrize("error", ERROR_KINDS.values(), ids=ERROR_KINDS.keys())
def test_every_kind_of_failure_ends_with_its_exit_code_and_its_message(
    error: type[AudioExtractError],
) -> None:
    def work(invocation: Invocation) -> None:
        raise error("the folder cannot be seen")

    code, output = run(work)
    assert code == error.exit_code
    assert "error: the folder cannot be seen" in output
    assert "Traceback" not in output


def test_a_traceback_is_shown_only_with_vv() -> None:
    def work(invocation: Invocation) -> None:
        raise TransientError("the network is gone")

    assert "Traceback" not in run(work, "-v")[1]
    assert "Traceback" in run(work, "-vv")[1]


def test_a_bug_is_reported_as_one_with_its_traceback_and_without_secrets() -> None:
    def work(invocation: Invocation) -> None:
        raise KeyError("https://u:canary@h/")

    code, output = run(work)
    assert code == 70
    assert "Traceback" in output
    assert "this is a bug" in output
    assert "canary" not in output


def test_a_command_that_has_ended_does_not_say_that_it_goes_on_by_itself() -> None:
    def work(invocation: Invocation) -> None:
        raise TransientError("no connection", code="source.network")

    _, output = run(work)
    assert "to do: try again later; if it stays" in output


def test_a_full_disk_below_the_output_is_no_bug() -> None:
    def work(invocation: Invocation) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    code, output = run(work)
    assert code == 5
    assert "No space left" in output
    assert "bug" not in output


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    def work(invocation: Invocation) -> None:
        invocation.say("stored \x1b[31mred\nline.mp4")
        raise TransientError("a\x1b]0;title\x07\x9b.mp4")

    _, output = run(work)
    assert "\x1b" not in output
    assert r"stored \x1b[31mred\nline.mp4" in output
    assert r"a\x1b]0;title\x07\x9b.mp4" in output


def test_without_a_terminal_and_yes_nothing_is_asked_and_nothing_changed() -> None:
    changed: list[bool] = []

    def work(invocation: Invocation) -> None:
        invocation.confirm("Forget 3 recordings?")
        changed.append(True)

    code, output = run(work)
    assert (code, changed) == (2, [])
    assert "Forget 3 recordings?" in output
    assert "--yes" in output
    assert run(work, "--yes")[0] == 0
    assert changed == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_work_and_the_exit_code_says_which(number: signal.Signals) -> None:
    stopped = threading.Event()
    before = signal.getsignal(number)

    def work() -> None:
        os.kill(os.getpid(), number)
        assert stopped.wait(10)

    with pytest.raises(Interrupted) as caught:
        run_interruptible(work, cancel=stopped.set)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_work_that_cannot_be_stopped_does_not_keep_the_person_waiting() -> None:
    release = threading.Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        release.wait(60)

    with pytest.raises(Interrupted):
        run_interruptible(work, cancel=lambda: None, grace_seconds=0.05)
    release.set()


def test_what_the_work_raises_reaches_the_caller() -> None:
    def work() -> None:
        raise ConfigurationError("no")

    with pytest.raises(ConfigurationError, match="no"):
        run_interruptible(work, cancel=lambda: None)
