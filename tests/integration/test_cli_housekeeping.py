"""What changes the database asks first, says what it would do with --dry-run, and what it did afterwards."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from audio_extract.tracker import Owner, RetryPolicy, SyncRun, Tracker
from support.cli import Outcome, run_cli
from support.legacy import make_legacy
from support.recordings import NOW, after, recording, stored

ME = Owner("here", 1, "boot.namespace.1")


class Site:
    """A database with one recording in each state, and the settings that name it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "audio.db"
        values = {
            "storage": {"type": "local", "local": {"path": str(folder / "audio")}},
            "monitoring": {"database_path": str(self.database)},
        }
        (folder / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))
        with self.tracker() as tracker:
            names = ("busy", "done", "failed", "quarantined", "pending")
            for number, name in enumerate(names):
                tracker.record([recording(name)], after(number))
            claims = {claim.source_id: claim for claim in tracker.claim(ME, after(9), limit=4)}
            tracker.complete(claims["done"], stored(), after(10))
            for name, kind in (("failed", "transient"), ("quarantined", "media")):
                tracker.fail(
                    claims[name], after(10), code="x.y", kind=kind, message="no", policy=RetryPolicy()
                )
            self.ids = {row.source_id: row.id for row in tracker.listing().rows}
            for number in range(3):
                tracker.add_sync(
                    SyncRun(
                        source="drive",
                        kind="full" if number == 0 else "incremental",
                        started_at=after(number),
                        ended_at=after(number) + timedelta(seconds=0.5),
                        seen=5,
                        new=5 if number == 0 else 0,
                        requests=1,
                        error_code="source.x" if number == 2 else None,
                        error_message="the \x1b[31mfolder" if number == 2 else None,
                    )
                )

    def tracker(self) -> Tracker:
        return Tracker.open(str(self.database), now=NOW)

    def states(self) -> dict[str, str]:
        with self.tracker() as tracker:
            return {row.source_id: row.status for row in tracker.listing().rows}

    def run(self, *words: str) -> Outcome:
        return run_cli(*words, cwd=self.folder)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    before = made.states()
    assert before == {
        "busy": "in_progress",
        "done": "completed",
        "failed": "failed",
        "quarantined": "quarantined",
        "pending": "pending",
    }
    return made


#: The words, what --dry-run says with which ids, and the states afterwards that are different.
CHANGES = {
    "retry one": (("retry", "quarantined"), ["quarantined"], {"quarantined": "pending"}),
    "retry all": (
        ("retry", "--failed"),
        ["failed", "quarantined"],
        {"failed": "pending", "quarantined": "pending"},
    ),
    "reprocess": (("retry", "--completed", "done"), ["done"], {"done": "pending"}),
    "forget some": (("forget", "done", "pending"), ["done", "pending"], {"done": None, "pending": None}),
    "forget all": (
        ("forget", "--failed"),
        ["failed", "quarantined"],
        {"failed": None, "quarantined": None},
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_asked_for_told_beforehand_and_told_afterwards(site: Site, what: str) -> None:
    words, names, changes = CHANGES[what]
    before = site.states()
    numbers = {site.ids[name] for name in names}
    told = site.run(*words, "--dry-run")
    assert told.code == 0
    assert set(told.out.partition(": ")[2].strip().split(", ")) == numbers
    assert told.out.startswith("would be ")
    refused = site.run(*words)
    assert (refused.code, refused.out) == (2, "")
    assert "nothing was changed" in refused.err
    assert "--yes" in refused.err
    assert site.states() == before
    done = site.run(*words, "--yes")
    assert done.code == 0
    assert set(done.out.partition(": ")[2].strip().split(", ")) == numbers
    after_it = {name: changes.get(name, state) for name, state in before.items()}
    assert site.states() == {name: state for name, state in after_it.items() if state is not None}


@pytest.mark.parametrize("command", ["retry", "forget"])
def test_what_is_in_progress_is_left_to_its_holder_and_said_so(site: Site, command: str) -> None:
    done = site.run(command, "busy", "pending", "--yes")
    assert done.code == 0
    assert f"left as they are (in progress, or nothing to do): {site.ids['busy']}" in done.out
    assert site.states()["busy"] == "in_progress"


@pytest.mark.parametrize(
    "words", [("forget",), ("retry",), ("forget", "done", "--failed"), ("retry", "done", "--failed")]
)
def test_all_or_some_have_to_be_named(site: Site, words: tuple[str, ...]) -> None:
    done = site.run(*words, "--yes")
    assert done.code == 2
    assert "name recordings, or say --failed" in done.err


def test_a_name_that_is_not_known_changes_nothing(site: Site) -> None:
    before = site.states()
    assert site.run("forget", "done", "nobody", "--yes").code != 0
    assert site.states() == before


def test_looks_at_sources_are_listed_newest_first(site: Site) -> None:
    lines = site.run("syncs").out.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["incremental", "incremental", "full"]
    # What a name says to a terminal is spelled out.
    assert "the \\x1b[31mfolder" in lines[1]
    [newest] = json.loads(site.run("syncs", "--json", "--limit", "1").out)
    assert (newest["kind"], newest["error_code"], newest["requests"]) == ("incremental", "source.x", 1)


def test_an_earlier_database_is_upgraded_in_place_only_after_a_question_and_with_a_copy(
    tmp_path: Path,
) -> None:
    old = make_legacy(tmp_path / "processed_videos.db")
    before = old.read_bytes()
    values = {
        "storage": {"type": "local", "local": {"path": str(tmp_path / "audio")}},
        "monitoring": {"database_path": str(old)},
    }
    (tmp_path / "audio_extract_config.yaml").write_text(yaml.safe_dump(values))

    def run(*words: str) -> Outcome:
        return run_cli("db", *words, cwd=tmp_path)

    told = run("upgrade", "--dry-run")
    assert (told.code, "made by the earlier service" in told.out) == (0, True)
    refused = run("upgrade")
    assert (refused.code, refused.out, "--yes" in refused.err) == (2, "", True)
    with Tracker.open(str(old), upgrade=False) as tracker:
        assert tracker.status().legacy
    assert not list(tmp_path.glob("*.backup-*"))
    done = run("upgrade", "--yes")
    assert done.code == 0, done.err
    assert "recordings taken over from the earlier service: 4" in done.out
    [copy] = tmp_path.glob("*.backup-*")
    assert str(copy) in done.out
    # The copy is a database of the earlier service as good as the original.
    original, another = tmp_path / "original.db", tmp_path / "another.db"
    original.write_bytes(before)
    for file in (original, copy):
        shutil.copy(file, another)
        said = run("import", str(another), "--dry-run").out
        assert said == f"{another}: 4 recordings, 3 of them completed\n"
    assert "up to date" in run("upgrade", "--yes").out
    assert len(list(tmp_path.glob("*.backup-*"))) == 1
