"""Every way to fail has a cause and a remedy in plain words, and the page in docs/ says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from audio_extract import _engine, exceptions
from audio_extract.failure_texts import FAILURES, failure_text, markdown, remedy

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"""\bcode\s*=\s*["']([a-z_]+\.[a-z_]+)["']""")


def test_every_code_of_the_engine_has_a_text() -> None:
    assert [code for code, _ in _engine.error_codes() if code not in FAILURES] == []


def test_every_code_that_python_raises_has_a_text() -> None:
    used = {error.default_code for error in exceptions.ERROR_KINDS.values()}
    for path in (ROOT / "python").rglob("*.py"):
        used.update(CODE.findall(path.read_text(encoding="utf-8")))
    assert len(used) > 20
    assert sorted(used - set(FAILURES)) == []


def test_the_page_in_docs_is_what_the_table_says() -> None:
    page = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
    assert page == markdown(), "run: python -m audio_extract.failure_texts > docs/failures.md"


@pytest.mark.parametrize("code", FAILURES)
def test_texts_continue_a_sentence_and_fit_into_a_table(code: str) -> None:
    failure = FAILURES[code]
    for text in (failure.cause, failure.remedy):
        assert text
        assert text == text.strip().rstrip(".")
        assert "|" not in text
        assert "\n" not in text


def test_a_text_names_the_recording_the_cause_the_remedy_and_the_detail() -> None:
    text = failure_text("media.no_audio", "Weekly Sync.mp4", "no track of type soun in moov")
    assert text.startswith("Weekly Sync.mp4: the recording has no sound. To do: ")
    assert text.endswith("Detail: no track of type soun in moov")


def test_details_are_short_and_hold_no_secret() -> None:
    text = failure_text("source.network", "a.mp4", "Authorization: Bearer ya29.abcdefghij " + "x" * 1000)
    assert "abcdefghij" not in text
    assert len(text) < 600


def test_a_message_that_names_setting_and_remedy_itself_is_not_said_twice() -> None:
    message = "storage.type is gcs, but processing.use_gcs_api is false: remove the latter"
    assert failure_text("config.invalid", "a.mp4", message) == f"a.mp4: {message}"
    assert remedy("config.invalid") is None
    assert remedy("media.unreadable") == FAILURES["media.unreadable"].remedy


def test_a_code_that_nobody_knows_still_gives_the_message() -> None:
    assert failure_text("new.code", "a.mp4", "something else") == "a.mp4: something else"
    assert remedy("new.code") is None
