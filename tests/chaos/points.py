"""Where the service is killed.

Every transition of the state machine that the service makes by itself is a transaction; a process can end
right before its commit and right after it. Between the transitions lie the steps of a transfer, and at the
other end of the line the requests that the services had received, or had carried out, when the process ended.
"""

from __future__ import annotations

from audio_extract.tracker.states import Event

#: Audit events that are transactions but no transition.
NOTES = ("named", "cursor")

#: What has to happen before a transition; the others happen whenever recordings are processed.
PRELUDES = {
    Event.RECOVERED: "killed",
    Event.RELEASED: "stopped",
    Event.CHANGED: "replaced",
    Event.GONE: "trashed",
    Event.SKIPPED: "unwanted",
    Event.SELECTED: "wanted_again",
    Event.RETRIED: "retried",
    Event.KEPT: "asked",
}

#: Transitions that are left out, and why: a new one has to be decided about.
NOT_HERE = {
    Event.SETTLED: "of a local folder: Drive's files change their revision when they get a checksum",
    Event.FORGOTTEN: "a person's command, one transaction; what follows is discovery and adoption",
    Event.ADOPTED: "made by `db upgrade` and `db import` in one transaction for the whole database",
}

TRANSITIONS = tuple(event for event in Event if event not in NOT_HERE)

#: Around each commit.
COMMITS = tuple(f"{when} {event}" for event in (*TRANSITIONS, *NOTES) for when in ("before", "after"))

#: Steps of a transfer, in the process.
STEPS = (
    "destination looked at",
    "engine started",
    "bytes arrive",
    "before the end",
    "stored, not recorded",
    "log written",
)

#: Requests at the emulated services; only with a bucket.
REQUESTS = (
    "index asked for",
    "media asked for",
    "session asked for",
    "chunk sent",
    "last chunk sent",
    "object made, answer on its way",
)

POINTS = (*COMMITS, *STEPS, *REQUESTS)
