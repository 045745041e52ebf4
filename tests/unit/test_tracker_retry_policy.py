from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_extract import _engine
from audio_extract.exceptions import ERROR_KINDS
from audio_extract.settings.service_sections import Behavior
from audio_extract.tracker import Decision, RetryPolicy, State
from audio_extract.tracker.retry_policy import STORAGE_DOWN

HOUR = 3600
POLICY = RetryPolicy(jitter=lambda: 0)


def decide(
    kind: str,
    *,
    policy: RetryPolicy = POLICY,
    code: str = "some.code",
    attempts: int = 0,
    failures: int = 0,
    retry_after: float | None = None,
) -> Decision:
    return policy.decide(
        kind=kind, code=code, attempts=attempts, failures=failures, retry_after_seconds=retry_after
    )


@pytest.mark.parametrize(
    ("kind", "state", "delay", "spends"),
    [
        ("media", State.QUARANTINED, None, True),
        ("not_found", State.SKIPPED, None, False),
        ("cancelled", State.PENDING, 0, False),
        ("source_changed", State.PENDING, 0, False),
        ("quota", State.FAILED, HOUR, False),
        ("permission", State.FAILED, HOUR, False),
        ("authentication", State.FAILED, 60, False),
        ("configuration", State.FAILED, 60, False),
        ("no_space", State.FAILED, 60, False),
        ("transient", State.FAILED, 300, True),
        ("corruption", State.FAILED, 300, True),
        ("destination_exists", State.FAILED, 300, True),
        ("bug", State.FAILED, 300, True),
    ],
)
def test_a_first_failure_is_followed_by_what_its_kind_means(
    kind: str, state: State, delay: float | None, spends: bool
) -> None:
    decision = decide(kind)
    assert (decision.state, decision.delay_seconds, decision.spends_attempt) == (state, delay, spends)


@pytest.mark.parametrize("code", sorted(STORAGE_DOWN))
def test_a_destination_that_does_not_answer_is_waited_for_and_spends_no_attempt(code: str) -> None:
    delays = []
    for failures in range(8):
        decision = decide("transient", code=code, failures=failures, attempts=2)
        assert (decision.state, decision.reason, decision.spends_attempt) == (
            State.FAILED, "storage_down", False
        )  # fmt: skip
        delays.append(decision.delay_seconds)
    assert delays == [60, 120, 240, 480, 900, 900, 900, 900]


def test_the_codes_of_a_destination_that_does_not_answer_are_the_engines() -> None:
    kinds = dict(_engine.error_codes())
    assert {kinds[code] for code in STORAGE_DOWN} == {"transient"}


def test_every_kind_of_error_is_decided_above() -> None:
    (mark,) = test_a_first_failure_is_followed_by_what_its_kind_means.pytestmark  # type: ignore[attr-defined]
    assert {row[0] for row in mark.args[1]} == set(ERROR_KINDS)


def test_attempts_are_counted_and_the_last_one_is_quarantined() -> None:
    decisions = [decide("transient", attempts=spent) for spent in range(3)]
    assert [item.state for item in decisions] == [State.FAILED, State.FAILED, State.QUARANTINED]
    assert [item.delay_seconds for item in decisions] == [300, 600, None]


def test_what_spends_no_attempt_never_ends_in_quarantine() -> None:
    for kind in ("quota", "permission", "authentication", "configuration", "no_space"):
        decision = decide(kind, attempts=2, failures=10_000)
        assert decision.state is State.FAILED
        assert decision.delay_seconds is not None


def test_the_quota_of_one_file_is_waited_for_longer_than_a_rate() -> None:
    assert decide("quota", code="source.quota_exceeded").delay_seconds == 6 * HOUR
    assert decide("quota", code="source.rate_limited").delay_seconds == HOUR


def test_a_revision_that_changes_again_and_again_is_left_alone_longer_and_longer() -> None:
    delays = [decide("source_changed", failures=failures).delay_seconds for failures in range(4)]
    assert delays == [0, 60, 120, 240]


def test_without_automatic_retry_a_failure_waits_for_a_person() -> None:
    policy = RetryPolicy(retry_failed=False, jitter=lambda: 0)
    for kind in ("transient", "corruption", "quota", "permission"):
        decision = decide(kind, policy=policy)
        assert (decision.state, decision.delay_seconds) == (State.FAILED, None)
    # These are not the recording's failures: with the credentials repaired it goes on.
    assert decide("authentication", policy=policy).delay_seconds == 60


@given(
    kind=st.sampled_from(sorted(ERROR_KINDS)),
    attempts=st.integers(0, 200),
    failures=st.integers(0, 1_000_000),
    jitter=st.floats(0, 1),
    first=st.floats(0, 604_800),
    asked=st.none() | st.floats(0, 1e6),
)
def test_a_delay_is_bounded_and_never_shorter_than_the_server_asked_for(
    kind: str, attempts: int, failures: int, jitter: float, first: float, asked: float | None
) -> None:
    policy = RetryPolicy(attempts=1000, first_delay_seconds=first, jitter=lambda: jitter)
    still = RetryPolicy(attempts=1000, first_delay_seconds=first, jitter=lambda: 0)
    decision = decide(kind, policy=policy, attempts=attempts, failures=failures, retry_after=asked)
    delay = decision.delay_seconds
    if delay is None:
        assert kind in {"media", "not_found"}
        return
    if kind != "cancelled":
        assert delay >= (asked or 0)
    assert delay <= max(24 * HOUR * 1.25, asked or 0)
    without = decide(kind, policy=still, attempts=attempts, failures=failures, retry_after=asked)
    # Jitter is only ever added.
    assert delay >= (without.delay_seconds or 0)


def test_crashes_have_their_own_limit() -> None:
    policy = RetryPolicy()
    assert policy.after_crash(19) == Decision(State.PENDING, "owner_died", 0)
    assert policy.after_crash(20) == Decision(State.QUARANTINED, "crash_limit")


def test_the_policy_comes_from_the_settings() -> None:
    policy = RetryPolicy.from_settings(
        Behavior(retry_attempts=5, retry_delay_seconds=10, retry_failed_files=False)
    )
    assert (policy.attempts, policy.first_delay_seconds, policy.retry_failed) == (5, 10, False)
