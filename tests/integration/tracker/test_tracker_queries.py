from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from audio_extract.tracker import Owner, Page, RecordingRow, RetryPolicy, State, Tracker
from support.query_plans import plans, slow_parts
from support.recordings import NOW, after, recording, stored

ME = Owner("here", 1, "boot.namespace.1")
DAY = 86_400


def fill(tracker: Tracker, count: int, *, start: float = 0, step: float = 1, prefix: str = "r") -> None:
    for number in range(count):
        tracker.record([recording(f"{prefix}{number:03}")], after(start + number * step))


def quarantine(tracker: Tracker, seconds: float, limit: int) -> None:
    for claim in tracker.claim(ME, after(seconds), limit=limit):
        tracker.fail(
            claim, after(seconds), code="media.no_audio", kind="media", message="no", policy=RetryPolicy()
        )


def ids(page: Page) -> list[str]:
    return [row.source_id for row in page.rows]


def test_recent_ones_are_newest_first_and_not_older_than_asked_for(tracker: Tracker) -> None:
    fill(tracker, 5, step=DAY)
    now = after(4 * DAY)
    assert ids(tracker.recent(now, days=2, limit=10)) == ["r004", "r003", "r002"]
    assert ids(tracker.recent(now, days=30, limit=2)) == ["r004", "r003"]
    the_first = datetime.min.replace(tzinfo=UTC)
    assert ids(tracker.recent(now, days=0, since=the_first, limit=2)) == ["r004", "r003"]
    [newest] = tracker.recent(now, days=30, limit=1).rows
    assert ids(tracker.recent(now, days=30, until=newest.state_changed_at, limit=2)) == ["r003", "r002"]


@pytest.mark.parametrize("limit", [1, 3, 7, 12, 13])
def test_pages_hold_every_recording_once_even_of_one_moment(tracker: Tracker, limit: int) -> None:
    tracker.record([recording(f"a{number}") for number in range(6)], NOW)
    tracker.record([recording(f"b{number}") for number in range(6)], after(1))
    found: list[str] = []
    cursor = None
    pages = 0
    while True:
        page = tracker.recent(after(2), days=1, limit=limit, cursor=cursor)
        assert len(page.rows) <= limit
        found += ids(page)
        pages += 1
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(found) == len(set(found)) == 12
    assert found == sorted(found[:6], reverse=True) + sorted(found[6:], reverse=True)
    assert pages == -(-12 // limit)


def test_what_arrives_while_somebody_pages_moves_no_row_to_another_page(tracker: Tracker) -> None:
    fill(tracker, 6)
    first = tracker.listing(limit=3)
    fill(tracker, 2, start=100, prefix="new")
    second = tracker.listing(limit=3, cursor=first.next_cursor)
    assert ids(first) + ids(second) == ["r005", "r004", "r003", "r002", "r001", "r000"]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "1", "1-", "-1", "1-2-3", " 1-2", "1-2\n", "٣-٣", "9" * 18 + "-1", "1-" + "9" * 30, "1-2;--"],
)
def test_a_cursor_that_is_not_ours_is_refused(tracker: Tracker, cursor: str) -> None:
    for read in (
        lambda: tracker.recent(NOW, days=1, limit=1, cursor=cursor),
        lambda: tracker.failed(limit=1, cursor=cursor),
        lambda: tracker.listing(limit=1, cursor=cursor),
    ):
        with pytest.raises(ValueError, match="not a cursor"):
            read()


def test_failed_ones_include_the_quarantined_and_nothing_else(tracker: Tracker) -> None:
    fill(tracker, 4)
    quarantine(tracker, 10, 2)
    (claim,) = tracker.claim(ME, after(11))
    tracker.fail(claim, after(11), code="x", kind="transient", message="no", policy=RetryPolicy())
    page = tracker.failed(limit=2)
    assert ids(page) == ["r002", "r001"]
    assert ids(tracker.failed(limit=2, cursor=page.next_cursor)) == ["r000"]
    assert [row.next_attempt_at is not None for row in page.rows] == [True, False]
    assert sorted(tracker.failed_ids()) == sorted(row.id for row in tracker.failed(limit=9).rows)
    assert len(tracker.retry_failed(after(12))) == 3
    assert tracker.failed(limit=9).rows == []


def test_the_history_has_every_day_and_what_ended_on_it(tracker: Tracker) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    evening = datetime(2026, 1, 29, 22, 30, tzinfo=UTC)  # 23:30 in Berlin
    tracker.record([recording("a"), recording("b"), recording("c")], evening - timedelta(days=2))
    one, two, three = tracker.claim(ME, evening - timedelta(days=2), limit=3)
    tracker.fail(
        one, evening - timedelta(days=2), code="x", kind="transient", message="no", policy=RetryPolicy()
    )
    tracker.complete(two, stored("2.mp3", audio_seconds=60), evening)
    tracker.complete(three, stored("3.mp3", audio_seconds=30), evening + timedelta(hours=1))
    days = tracker.history(evening + timedelta(hours=2), days=4, zone=berlin)
    assert [(day.day.day, day.completed, day.failed, day.audio_seconds) for day in days] == [
        (27, 0, 1, 0), (28, 0, 0, 0), (29, 1, 0, 60), (30, 1, 0, 30)
    ]  # fmt: skip


def test_what_is_stored_is_found_by_its_place_and_by_words_of_its_name(tracker: Tracker) -> None:
    tracker.record([recording("a", name="Budget_100%.mp4"), recording("b", name="Ümlaut.mp4")], after(0))
    claim, _ = tracker.claim(ME, after(1), limit=2)
    tracker.complete(claim, stored("dev/a.mp3"), after(2))
    found = tracker.stored_as("dev/a.mp3")
    assert found is not None
    assert found.id == claim.id
    assert tracker.stored_as("dev/b.mp3") is None
    for words, names in (("UDGET_1", ["Budget_100%.mp4"]), ("t%1", []), ("%", ["Budget_100%.mp4"])):
        assert [row.name for row in tracker.listing(name=words).rows] == names
        assert [row.name for row in tracker.recent(after(3), days=1, name=words, limit=5).rows] == names


def test_changes_give_each_recording_once_with_its_newest_number(tracker: Tracker) -> None:
    before = tracker.newest_change()
    tracker.record([recording("a"), recording("b")], after(0))
    [claim] = tracker.claim(ME, after(1), limit=1)
    changes = tracker.changes(before)
    assert [row.source_id for _, row in changes] == ["b", "a"]
    assert changes[-1][0] == tracker.newest_change()
    assert tracker.changes(changes[0][0]) == changes[1:]
    tracker.release(claim, after(2))
    assert tracker.changes(before, limit=1)[0][1].source_id == "b"


def test_lists_can_be_limited_to_states(tracker: Tracker) -> None:
    fill(tracker, 3)
    quarantine(tracker, 10, 1)
    assert ids(tracker.listing(states=[State.QUARANTINED])) == ["r000"]
    assert ids(tracker.listing(states=[State.PENDING])) == ["r002", "r001"]
    assert len(ids(tracker.listing(states=[State.PENDING, State.QUARANTINED]))) == 3
    assert ids(tracker.listing(states=[State.COMPLETED])) == []


def test_counts_and_sums_are_those_of_the_rows(tracker: Tracker) -> None:
    assert set(tracker.counts().values()) == {0}
    assert tracker.stats().total == 0
    assert tracker.stats().audio_seconds == 0
    fill(tracker, 6)
    done, failed, _ = tracker.claim(ME, after(10), limit=3)
    tracker.complete(done, stored(audio_seconds=61.5, size_bytes=12_345), after(11))
    tracker.fail(failed, after(12), code="x", kind="transient", message="no", policy=RetryPolicy())
    tracker.skip("drive", "r005", "name", after(13))
    tracker.record([recording("d", settled=False)], after(14))
    counts = tracker.counts()
    assert counts == {
        State.DISCOVERED: 1,
        State.PENDING: 2,
        State.IN_PROGRESS: 1,
        State.COMPLETED: 1,
        State.FAILED: 1,
        State.QUARANTINED: 0,
        State.SKIPPED: 1,
    }
    stats = tracker.stats()
    assert (stats.total, stats.completed, stats.failed, stats.pending, stats.in_progress, stats.skipped) == (
        7, 1, 1, 3, 1, 1
    )  # fmt: skip
    assert (stats.audio_seconds, stats.source_bytes, stats.stored_bytes) == (61.5, 1000, 12_345)
    assert tracker.due(after(15)) == 2


def test_rows_have_every_key_that_readers_of_the_earlier_api_know() -> None:
    known = {"file_path", "status", "processed_at", "metadata", "storage_url", "storage_path", "storage_type"}
    assert known <= {item.name for item in fields(RecordingRow)}


def test_a_recording_is_found_by_each_of_its_names(tracker: Tracker) -> None:
    tracker.record([recording("abc"), recording("meetings/a b.mp4", source="local"), recording("2")], NOW)
    abc = tracker.find("abc")
    assert abc is not None
    for name in ("drive://abc", "drive:abc", abc.id):
        assert tracker.find(name) == abc
    assert (found := tracker.find("meetings/a b.mp4")) is not None
    assert found.source == "local"
    # A number is our id first; with its source it is unmistakable.
    two = tracker.find("drive:2")
    assert two is not None
    assert two.source_id == "2"
    for unknown in ("drive:meetings/a b.mp4", "nothing", "0", "9" * 40, "-1", "", "1 OR 1=1"):
        assert tracker.find(unknown) is None
        assert tracker.recording(unknown) is None
    assert tracker.audit("nonsense") == []
    assert tracker.attempts_of("nonsense") == []
    assert tracker.chunks_of("nonsense") == []


def test_unknown_ids_and_those_in_progress_are_left_out_by_retry_and_forget(tracker: Tracker) -> None:
    fill(tracker, 2)
    (held,) = tracker.claim(ME, after(10))
    others = [row.id for row in tracker.listing().rows if row.id != held.id]
    wanted = [held.id, *others, "12345", "x", "9" * 30]
    assert tracker.retry(wanted, after(11)) == others
    assert tracker.forget(wanted, after(12)) == others
    assert ids(tracker.listing()) == ["r000"]


def test_reprocessing_what_is_completed_has_to_be_asked_for(tracker: Tracker) -> None:
    fill(tracker, 1)
    (claim,) = tracker.claim(ME, NOW)
    tracker.complete(claim, stored(), after(1))
    assert tracker.retry([claim.id], after(2)) == []
    assert tracker.retry([claim.id], after(2), completed=True) == [claim.id]
    (again,) = tracker.claim(ME, after(3))
    assert again.attempt == 1


def test_what_was_forgotten_is_new_again_under_another_id(tracker: Tracker) -> None:
    tracker.record([recording()], NOW)
    (row,) = tracker.listing().rows
    tracker.forget([row.id], after(1))
    assert tracker.record([recording()], after(2)).new == 1
    (again,) = tracker.listing().rows
    assert int(again.id) > int(row.id)
    assert [entry.event for entry in tracker.audit(row.id)] == ["recorded", "forgotten"]


def test_the_audit_log_can_only_be_added_to(tracker: Tracker) -> None:
    from sqlalchemy.exc import DBAPIError

    fill(tracker, 1)
    for statement in ("UPDATE audit_log SET event = 'nothing'", "DELETE FROM audit_log"):
        with pytest.raises(DBAPIError, match="only ever added to"), tracker._database.write() as connection:
            connection.execute(text(statement))
    assert [entry.event for entry in tracker.audit()] == ["recorded"]


def test_the_database_itself_refuses_states_that_make_no_sense(tracker: Tracker) -> None:
    from sqlalchemy.exc import IntegrityError

    fill(tracker, 1)
    for values in (
        "state = 'unheard of'",
        "state = 'in_progress', next_attempt_at = NULL",
        "lease_owner = 'somebody', lease_expires_at = next_attempt_at",
        "state = 'completed'",
        "next_attempt_at = NULL",
    ):
        with pytest.raises(IntegrityError), tracker._database.write() as connection:
            connection.execute(text(f"UPDATE recordings SET {values}"))  # noqa: S608


@pytest.fixture
def many(tracker: Tracker) -> Tracker:
    """Enough rows, some seconds apart, that both databases prefer an index where one fits."""
    if tracker._database.file:
        moment = "strftime('%Y-%m-%d %H:%M:%S.000000', '2026-01-29 10:00:00', '-' || n || ' seconds')"
    else:
        moment = "TIMESTAMPTZ '2026-01-29 10:00:00+00' - n * INTERVAL '1 second'"
    state = "CASE WHEN n % 100 = 0 THEN 'failed' WHEN n % 3 = 0 THEN 'pending' ELSE 'completed' END"
    with tracker._database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO recordings (source, source_id, name, state, state_changed_at, discovered_at, "  # noqa: S608
                "next_attempt_at, storage_path) "
                "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 20000) "
                f"SELECT 'drive', 'id' || n, 'name', {state}, {moment}, {moment}, "
                f"CASE WHEN {state} = 'pending' THEN {moment} ELSE NULL END, "
                f"CASE WHEN {state} = 'completed' THEN 'dev/' || n || '.mp3' ELSE NULL END FROM t"
            )
        )
        connection.execute(
            text(
                "INSERT INTO transfers (recording_id, fence, attempt, owner, started_at, ended_at, outcome) "
                "SELECT id, 0, 1, 'here:1:x', state_changed_at, state_changed_at, 'failed' FROM recordings"
            )
        )
        connection.execute(
            text(
                "INSERT INTO audit_log (at, recording_id, event) "
                "SELECT state_changed_at, id, 'recorded' FROM recordings"
            )
        )
        connection.execute(
            text(
                "INSERT INTO sync_history "
                "(source, kind, started_at, ended_at, seen, new, changed, skipped, removed) "
                "SELECT 'drive', 'full', state_changed_at, state_changed_at, 0, 0, 0, 0, 0 FROM recordings"
            )
        )
    with tracker._database.write() as connection:
        connection.execute(text("ANALYZE"))
    return tracker


QUESTIONS: dict[str, Callable[[Tracker], object]] = {
    "claim": lambda t: t.claim(ME, after(1), limit=2),
    "claim one": lambda t: t.claim_one(t.listing(states=[State.PENDING], limit=1).rows[0].id, ME, after(1)),
    "renew": lambda t: [t.renew(claim, after(1)) for claim in t.claim(ME, after(1))],
    "end": lambda t: [t.complete(claim, stored(), after(1)) for claim in t.claim(ME, after(1))],
    "recover": lambda t: t.recover(after(0)),
    "recent": lambda t: t.recent(after(1), days=7, limit=50),
    "list": lambda t: t.listing(limit=50),
    "list what failed": lambda t: t.listing(states=[State.FAILED, State.QUARANTINED], limit=50),
    "list one state": lambda t: t.listing(states=[State.FAILED], limit=50),
    "the next page": lambda t: t.listing(
        states=[State.COMPLETED], limit=50, cursor=t.listing(states=[State.COMPLETED], limit=50).next_cursor
    ),
    "recent of one state": lambda t: t.recent(after(1), days=7, states=[State.FAILED], limit=50),
    "stored as": lambda t: t.stored_as("dev/1.mp3"),
    "history": lambda t: t.history(after(-90_000), days=30, zone=UTC),
    "newest change": lambda t: t.newest_change(),
    "changes": lambda t: t.changes(t.newest_change() - 100),
    "failed": lambda t: t.failed(limit=50),
    "ids of the failed": lambda t: t.failed_ids(),
    "next due": lambda t: t.next_due_at(),
    "due": lambda t: t.due(after(-19_990)),
    "find": lambda t: t.find("id77"),
    "one": lambda t: t.recording("77"),
    "what happened to one": lambda t: t.audit("77"),
    "its attempts": lambda t: t.attempts_of("77"),
    "syncs": lambda t: t.syncs(),
    "last sync": lambda t: t.last_sync("drive"),
    "listed again": lambda t: t.record([recording(f"id{number}") for number in range(1, 50)], after(1)),
    "gone": lambda t: t.remove("drive", ["id77"], after(1)),
    "retry": lambda t: t.retry(["77", "78"], after(1)),
    "forget": lambda t: t.forget(["77"], after(1)),
    "clean up": lambda t: t.cleanup(365, after(1)),
    "audit": lambda t: next(t.placed()),
}


#: These have the rows of a few ids, or of one day, to put in order.
OF_FEW = {"changes", "find", "history", "gone", "listed again", "retry", "forget"}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_a_whole_table_or_sorts_it(many: Tracker, question: str) -> None:
    assert slow_parts(many, lambda: QUESTIONS[question](many), may_sort=question in OF_FEW) == []


# PostgreSQL chooses by how wide rows are and which were vacuumed: benches/tracker.py shows it with a million.
@pytest.mark.parametrize("kind", ["sqlite"])
def test_counts_and_sums_read_an_index_and_not_the_rows(many: Tracker) -> None:
    for ask in (many.counts, many.stats):
        for plan in plans(many, ask):
            assert "USING COVERING INDEX" in plan


# To walk along all recordings until enough of them have failed takes seconds where few have.
@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("states", [(State.FAILED, State.QUARANTINED), (State.QUARANTINED, State.FAILED)])
def test_what_failed_is_read_from_an_index_of_its_own(many: Tracker, states: tuple[State, ...]) -> None:
    for ask in (lambda: many.listing(states=states, limit=50), lambda: many.failed(limit=50)):
        assert "ix_recordings_failed" in plans(many, ask)[0]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_what_changed_lately_is_read_without_all_that_ever_happened(many: Tracker) -> None:
    # Asked once a second while somebody looks.
    assert "SEARCH audit_log USING INTEGER PRIMARY KEY" in plans(many, lambda: many.changes(100))[0]


def test_a_question_without_an_index_is_noticed(many: Tracker) -> None:
    def ask(statement: str) -> Callable[[], None]:
        def run() -> None:
            with many._database.read() as connection:
                connection.execute(text(statement)).all()

        return run

    assert slow_parts(many, ask("SELECT id FROM recordings WHERE name = 'nobody'"))
    assert slow_parts(many, ask("SELECT id FROM recordings WHERE id < 9999 ORDER BY name"))
    assert not slow_parts(many, ask("SELECT id FROM recordings WHERE id = 9"))
