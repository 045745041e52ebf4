"""Discovery, transfers, faults, crashes and time in any order: what always holds.

Workers behave as the service's do: name, look at the destination, store with the precondition that nothing
stands there, record. Some are slow, some die, and some go on although their lease is gone. The destination is
a dictionary; who writes there is not fenced, which is why it has preconditions.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from audio_extract.exceptions import ERROR_KINDS
from audio_extract.plan.selection import Skipped
from audio_extract.sources.base import Recording
from audio_extract.tracker import Claim, Decision, LeaseLostError, Owner, RetryPolicy, State, Tracker
from audio_extract.tracker.discovery import RevisionPolicy
from audio_extract.tracker.models import processed_videos, recordings
from support.recordings import NOW, recording, stored

POLICY = RetryPolicy(attempts=3, crash_limit=4, jitter=lambda: 0)
LEASE_SECONDS = 60.0
SOURCE_IDS = ("a", "b", "c")
IDS = st.sampled_from(SOURCE_IDS)
HOSTS = ("here", "there")
#: The one that spends attempts is the most frequent one, as in life.
KINDS = st.sampled_from([*sorted(ERROR_KINDS), *["transient"] * len(ERROR_KINDS)])
#: A person's or the clock's part, each some seconds to some days.
SECONDS = st.sampled_from([1, 30, 61, 400, 4_000, 30 * 3600])


@dataclass(frozen=True)
class Object:
    """What stands at the destination under a name."""

    source_id: str
    revision: str | None
    generation: int


BACK = st.sampled_from([0, 0, 0, 1, 2, 3])


def some_work(machine: object) -> bool:
    """Whether somebody believes to hold something."""
    assert isinstance(machine, TrackerMachine)
    return bool(machine.believed)


class TrackerMachine(RuleBasedStateMachine):
    """Drives one tracker."""

    #: Gives the URL of an empty database.
    database: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self.tracker = Tracker.open(type(self).database(), upgrade=False)
        self.now = NOW
        self.source: dict[str, Recording] = {}
        self.unwanted: set[str] = set()
        self.recorded: set[str] = set()
        self.destination: dict[str, Object] = {}
        #: Of revisions, generations and workers.
        self.serial = itertools.count(1)
        self.dead: set[int] = set()
        #: The newest claim on each recording; only its holder may write.
        self.newest: dict[str, int] = {}
        #: Of which workers still believe that they hold them; the newest last.
        self.believed: list[Claim] = []

    def teardown(self) -> None:
        self.tracker.close()

    # The source, and discovery.

    @initialize()
    def all_are_there(self) -> None:
        self.source = {source_id: recording(source_id) for source_id in SOURCE_IDS}
        self.look("never")

    @rule(
        source_id=IDS,
        happens=st.sampled_from(["revision", "unsettled", "gone", "unwanted"]),
        policy=st.sampled_from(["never", "new_object"]),
        looks=st.booleans(),
    )
    def the_source_changes(self, source_id: str, happens: str, policy: RevisionPolicy, looks: bool) -> None:
        match happens:
            case "gone" if source_id in self.source:
                del self.source[source_id]
            case "unwanted":
                self.unwanted ^= {source_id}
            case _:
                revision = f"r{next(self.serial)}"
                settled = happens != "unsettled"
                self.source[source_id] = recording(source_id, settled=settled, revision=revision)
        if looks:
            self.look(policy)

    def look(self, policy: RevisionPolicy) -> None:
        self.tracker.record(
            list(self.source.values()), self.now, unwanted=self.why_unwanted, new_revisions=policy
        )
        self.recorded |= set(self.source)
        gone = self.tracker.known_ids("drive") - set(self.source)
        self.tracker.remove("drive", gone, self.now)

    def why_unwanted(self, item: Recording) -> Skipped | None:
        return Skipped("name", "not wanted") if item.source_id in self.unwanted else None

    # Workers.

    @rule(host=st.sampled_from(HOSTS), limit=st.integers(1, 3))
    def claim(self, host: str, limit: int) -> None:
        owner = Owner(host, next(self.serial), "boot.namespace.1")
        due = self.tracker.due(self.now)
        claims = self.tracker.claim(owner, self.now, limit=limit, lease_seconds=LEASE_SECONDS)
        assert len(claims) == min(due, limit)
        for claim in claims:
            assert claim.token > self.newest.get(claim.id, 0)
            self.newest[claim.id] = claim.token
        self.believed = [*self.believed, *claims][-4:]

    def one(self, back: int) -> Claim:
        """A claim: 0 is the newest."""
        return self.believed[-1 - back % len(self.believed)]

    @rule(source_id=IDS)
    def claim_what_a_job_names(self, source_id: str) -> None:
        row = self.tracker.find(source_id)
        before = None if row is None else self.row(row.id)
        if row is None or before is None:
            return
        owner = Owner(HOSTS[0], next(self.serial), "boot.namespace.1")
        claim = self.tracker.claim_one(row.id, owner, self.now, lease_seconds=LEASE_SECONDS)
        due = before["next_attempt_at"]
        assert (claim is not None) == (due is not None and due <= self.now)
        if claim is not None:
            assert claim.token > self.newest.get(claim.id, 0)
            self.newest[claim.id] = claim.token
            self.believed = [*self.believed, claim][-4:]

    @precondition(some_work)
    @rule(back=BACK)
    def a_worker_dies_or_is_slow_and_another_takes_over(self, back: int) -> None:
        claim = self.one(back)
        owner = Owner.parse(claim.owner)
        self.dead.add(owner.pid)
        if owner.host != HOSTS[0]:
            self.now += timedelta(seconds=LEASE_SECONDS)
        recovered = self.tracker.recover(
            self.now, policy=POLICY, host=HOSTS[0], is_alive=lambda owner: owner.pid not in self.dead
        )
        assert not set(recovered.pending) & set(recovered.quarantined)
        assert not self.holds(claim)
        self.claim(HOSTS[0], 3)

    @precondition(some_work)
    @rule(back=BACK, renews=st.booleans())
    def a_worker_gives_it_back_or_goes_on(self, back: int, renews: bool) -> None:
        claim = self.one(back)
        held = self.holds(claim)
        if renews:
            assert self.tracker.renew(claim, self.now, lease_seconds=LEASE_SECONDS) == held
        else:
            assert self.tracker.release(claim, self.now) == held

    @precondition(some_work)
    @rule(back=BACK, kind=KINDS, waits=st.booleans())
    def fail(self, back: int, kind: str, waits: bool) -> None:
        claim = self.one(back)
        before = self.row(claim.id)
        if before is None or not self.holds(claim):
            with pytest.raises(LeaseLostError):
                self.tracker.fail(claim, self.now, code="x", kind=kind, message="x", policy=POLICY)
            return
        state = self.tracker.fail(claim, self.now, code="x", kind=kind, message="x", policy=POLICY)
        after = self.row(claim.id)
        assert after is not None
        assert after["state"] == state
        assert after["attempts"] - before["attempts"] in {0, 1}
        if kind == "media":
            assert state is State.QUARANTINED
        if state is State.FAILED:
            assert after["next_attempt_at"] > self.now
            if waits:
                self.now = after["next_attempt_at"]
                self.claim(HOSTS[0], 3)

    @precondition(some_work)
    @rule(back=BACK, dies_before=st.sampled_from(["nothing", "storing", "recording"]))
    def work(self, back: int, dies_before: str) -> None:
        """As `TransferJob` does it. Who lost the lease hears of it when it writes down something."""
        claim = self.one(back)
        held = self.holds(claim)
        try:
            name = self.free_or_own_name(claim)
            if dies_before == "storing":
                return
            mine = Object(claim.source_id, claim.revision, next(self.serial))
            standing = self.destination.setdefault(name, mine)
            if dies_before == "recording":
                return
            self.tracker.complete(
                claim, stored(name, generation=standing.generation), self.now, revision=claim.revision
            )
        except LeaseLostError:
            assert not held
        else:
            assert held

    def free_or_own_name(self, claim: Claim) -> str:
        """A name under which nothing stands, or just what this claim would store."""
        name, serial = claim.object_name, itertools.count()
        while True:
            if name is None:
                name = f"{claim.source_id}-{next(serial)}.mp3"
                if not self.tracker.assign_object_name(claim, name, self.now):
                    name = None
                    continue
            standing = self.destination.get(name)
            if standing is None or (standing.source_id, standing.revision) == (
                claim.source_id,
                claim.revision,
            ):
                return name
            name = None

    # People, and time.

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(source_id=IDS, asks=st.sampled_from(["retry", "reprocess", "retry all", "forget", "clean up"]))
    def a_person_asks(self, source_id: str, asks: str) -> None:
        row = self.tracker.find(source_id)
        ids = [row.id] if row is not None else []
        match asks:
            case "retry" | "reprocess":
                self.tracker.retry(ids, self.now, completed=asks == "reprocess")
            case "retry all":
                self.tracker.retry_failed(self.now)
            case "forget" if self.tracker.forget(ids, self.now):
                self.recorded.discard(source_id)
            case "clean up":
                # All that ended is old enough then.
                self.tracker.cleanup(1, self.now + timedelta(days=3))

    # What always holds.

    @invariant()
    def what_must_hold_holds(self) -> None:
        rows = self.rows()
        assert {row["source_id"] for row in rows} == self.recorded, "a recording was lost"
        for row in rows:
            state = State(row["state"])
            assert row["fence"] == self.newest.get(str(row["id"]), 0), "somebody claimed it unseen"
            assert (row["lease_owner"] is not None) == (state is State.IN_PROGRESS)
            assert (row["next_attempt_at"] is not None) == (state in {State.PENDING, State.FAILED})
            assert row["attempts"] <= POLICY.attempts
            assert row["crashes"] <= POLICY.crash_limit
            if state is State.FAILED:
                assert row["attempts"] < POLICY.attempts
            if state is State.COMPLETED:
                standing = self.destination[row["storage_path"]]
                assert standing.source_id == row["source_id"]
                assert standing.revision == row["completed_revision"]
                assert standing.generation == row["generation"]

    @invariant()
    def what_is_completed_is_so_in_the_earlier_table_too(self) -> None:
        completed = {row["id"] for row in self.rows() if row["state"] == State.COMPLETED}
        query = select(processed_videos.c.recording_id).where(processed_videos.c.status == "completed")
        with self.tracker._database.read() as connection:
            assert completed <= set(connection.execute(query).scalars())

    @invariant()
    def the_audit_log_leads_to_where_each_stands(self) -> None:
        states: dict[str, str | None] = {}
        for entry in self.tracker.audit(limit=10_000):
            assert entry.recording_id is not None
            if entry.from_state is not None or entry.to_state is not None:
                assert states.get(entry.recording_id) == entry.from_state
                states[entry.recording_id] = entry.to_state
        assert {k: v for k, v in states.items() if v} == {str(row["id"]): row["state"] for row in self.rows()}

    # Looking.

    def rows(self) -> list[dict[str, Any]]:
        with self.tracker._database.read() as connection:
            return [dict(row) for row in connection.execute(select(recordings)).mappings()]

    def row(self, recording_id: str) -> dict[str, Any] | None:
        return next((row for row in self.rows() if str(row["id"]) == recording_id), None)

    def holds(self, claim: Claim) -> bool:
        row = self.row(claim.id)
        return row is not None and row["state"] == State.IN_PROGRESS and row["fence"] == claim.token


def run(url: Callable[[], str], *, examples: int) -> None:
    machine = type("Machine", (TrackerMachine,), {"database": staticmethod(url)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            # Making a failing story shorter would take minutes.
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def sqlite(migrated: Callable[[str, str], None]) -> Iterator[Callable[[], str]]:
    """Gives new files, one at a time, in memory where there is such a place: nothing here is about disks."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        numbers = itertools.count()

        def fresh() -> str:
            for file in Path(folder).iterdir():
                file.unlink()
            path = str(Path(folder) / f"{next(numbers)}.db")
            migrated("sqlite", path)
            return path

        yield fresh


@pytest.mark.timeout(600)
def test_on_sqlite(sqlite: Callable[[], str]) -> None:
    run(sqlite, examples=40)


@pytest.mark.timeout(600)
def test_on_postgresql(postgresql: str, migrated: Callable[[str, str], None]) -> None:
    numbers = itertools.count()

    def fresh() -> str:
        name = f"machine_{next(numbers)}"
        migrated("postgresql", f"{postgresql}#{name}")
        return postgresql.replace("/postgres?", f"/{name}?")

    run(fresh, examples=8)


def nothing(*_arguments: object, **_values: object) -> None:
    """What a forgotten line does."""


def any_holder(claim: Claim) -> tuple[Any, ...]:
    return (recordings.c.id == int(claim.id), recordings.c.state == State.IN_PROGRESS)


def forget_old(self: Tracker, days: int, now: datetime) -> int:
    before = now - timedelta(days=days)
    with self._database.write() as connection:
        done = connection.execute(
            recordings.delete().where(recordings.c.state == "completed", recordings.c.processed_at < before)
        )
        return done.rowcount


#: What is broken, by what.
BREAKS: dict[str, tuple[str, object]] = {
    "an old holder may write": ("audio_extract.tracker.claims._held", any_holder),
    "no row of the earlier table": ("audio_extract.tracker.claims.note_outcome", nothing),
    "a move is not in the audit log": ("audio_extract.tracker.history.record_event", nothing),
    "clean-up forgets what is completed": ("audio_extract.tracker.tracker.Tracker.cleanup", forget_old),
    "attempts are never used up": (
        "audio_extract.tracker.retry_policy.RetryPolicy.decide",
        lambda *_a, **_v: Decision(State.FAILED, "backoff", 60, spends_attempt=True),
    ),
    "whatever stands there is completed": (
        f"{__name__}.TrackerMachine.free_or_own_name",
        lambda self, claim: next(iter(self.destination), f"{claim.source_id}.mp3"),
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_tracker_that_is_broken_does_not_pass(
    sqlite: Callable[[], str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(*BREAKS[what])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run(sqlite, examples=40)
