"""What log lines and spans are called, and what that means: for docs/telemetry.md and who searches for them.

`make docs` and a test compare it with the code, so that a name cannot be forgotten here, and none stands here
that nothing uses. One name for each kind of thing; the sentence of a line may change, its name may not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: The event of lines that have none: what libraries say.
PLAIN_LINES: Final = "log"

EVENTS: Final[dict[str, str]] = {
    "credentials.unreadable": "A key file cannot be read just now, for example while it is replaced; the key that was read before is used.",
    "discovery.cursor_lost": "Drive no longer knows the place in its change feed; whole folders are listed once.",
    "discovery.elsewhere": "Another process looks for recordings.",
    "discovery.failed": "A source, or a folder of it, could not be looked at.",
    "discovery.full_put_off": "Drive could not list a folder as a whole; only what is new was looked at.",
    "discovery.recording_unseen": "One recording could not be asked about; it is the next time.",
    "drive.account_unknown": "Drive does not say whose credentials these are; only messages miss it.",
    "drive.retry": "A call to Drive failed in a way that passes, and is made again after a wait.",
    "folder.unseen": "A folder or file cannot be read and is left out; said once.",
    "health.changed": "A component began or ceased to work.",
    "job.crashed": "Something that runs at intervals failed unexpectedly: a mistake of the program.",
    "companions.failed": "Transcript, notes or chat of a recording could not be found or copied; its audio is stored.",
    "job.failed": "Something that runs at intervals failed; it runs again at its time.",
    "lease.claim_failed": "A recording could not be taken because the database did not answer; it is due still.",
    "lease.recovered": "Workers ended without a word; their recordings are due again, or given up after too many crashes.",
    "lease.recovery_failed": "What a dead worker may have stored could not be looked for; the recording is due again.",
    "lease.renewal_failed": "The database did not take the renewal of a lease; the transfer goes on while the lease lasts.",
    "leftover.removed": "A file that a killed process left was removed.",
    "link.left_out": "A symbolic link leads out of the watched folder and is left out.",
    "log.file_failed": "The log file cannot be written; lines go to the console only until it can.",
    "notify.dropped": "So many messages wait to be sent that further ones are dropped.",
    "notify.failed": "A message was not taken: by the mail server, Apprise's service, the webhook, Pub/Sub or the file.",
    "notify.no_link": "No link to stored audio could be made for those who are told; they are told without it.",
    "recording.unusable_name": "A recording cannot be taken because of its name or path; rename or move it.",
    "redis.failed": "Redis does not answer; folders are listed anew until it does.",
    "redis.recovered": "Redis answers again.",
    "service.supervisor_unreachable": "systemd does not take what the service tells it.",
    "service.started": "The service runs.",
    "service.stopped": "The service has ended.",
    "service.stopping_at_error": "A recording failed, and behavior.stop_on_error ends the service.",
    "service.stopping_transfers": "Transfers did not end in the time there is for that; they are stopped and due again.",
    "shortcut.broken": "A shortcut in Drive leads to nothing that can be seen.",
    "storage.log_unreadable": "A processing log or chunks.json at the destination is not JSON; it counts as absent.",
    "telemetry.not_sent": "A receiver of traces or metrics does not take them; they are dropped. Said once.",
    "telemetry.sent_again": "The receiver takes them again.",
    "transfer.adopted": "The audio stood at the destination already, and is ours: written down without a transfer.",
    "transfer.completed": "A recording is stored and verified.",
    "transfer.crashed": "A transfer failed unexpectedly: a mistake of the program.",
    "transfer.damaged": "What stands at the destination is not what was stored there; it is left alone, and the audio is made again.",
    "transfer.failed": "A transfer failed; status says whether it is tried again (failed) or waits for a person (quarantined).",
    "transfer.lease_lost": "Another worker has the recording; what this one did does not count.",
    "transfer.log_not_stored": "The audio is stored, its processing log is not.",
    "transfer.name_taken": "While the audio was made, an object appeared under its name; another name is looked for.",
    "transfer.not_recorded": "How a transfer ended could not be written into the database; recovery takes the recording back.",
    "transfer.stopped": "A transfer was stopped, because the service ends or a person asked; it is due again.",
    "transfers.paused": "No transfers begin for a while, because the next one would fail like the last: credentials, disk, destination or database.",
    "watch.failed": "A local folder cannot be watched; it is looked at at intervals.",
    "web.events_failed": "The stream of events of the page stopped.",
    "web.iap_keys": "The keys by which Google's IAP signs cannot be fetched; nobody comes in through it.",
    "web.iap_refused": "A request with a wrong assertion of Google's IAP was refused.",
    "web.no_cookie_key": "The key of sessions cannot be kept; everybody signs in again after the next start.",
    "web.not_remembered": "A page asks the database again, because what was remembered could not be renewed.",
    "web.request_failed": "A request to the dashboard failed unexpectedly: a mistake of the program.",
    "web.sign_in_failed": "Somebody tried to sign in with a wrong name, password or token.",
    "web.signed_in": "Somebody signed in.",
    "worker.disconnected": "The queue of jobs does not answer; the worker tries again.",
    "worker.failed": "The worker ended unexpectedly, and with it the process: a mistake of the program.",
    "worker.started": "The worker takes jobs.",
}


@dataclass(frozen=True, slots=True)
class SpanText:
    """What a span is.

    Attributes:
        text: What it is.
        inside: The span it is a child of.
        attributes: Name → what it says.
        events: Name → what happened.
        is_call: Its name is that of a method or an operation.
    """

    text: str
    inside: str = "transfer"
    attributes: dict[str, str] = field(default_factory=dict)
    events: dict[str, str] = field(default_factory=dict)
    is_call: bool = False


_FETCHED: Final = {"requests": "made", "bytes": "fetched since the transfer began"}
_RETRY: Final = {
    "retry": "a request failed, or was refused for its number, and follows again after `wait_seconds`: `error.type`, `message`"
}
_HTTP: Final = {
    "http.request.method": "",
    "http.response.status_code": "",
    "error.type": "of an answer that is none",
}

SPANS: Final[dict[str, SpanText]] = {
    "discovery": SpanText(
        "One look at a source.",
        "– (its own trace)",
        {
            "source": "which",
            "full": "whether whole folders were asked for",
            "kind": "`full` or `incremental`, as it was done",
            "recordings.seen": "",
            "recordings.new": "",
        },
    ),
    "plan": SpanText(
        "What to do with what was found; in a transfer: with this recording.", "discovery, transfer"
    ),
    "transfer": SpanText(
        "One attempt to carry out a recording's plan.",
        "– (its own trace)",
        {
            "recording.id": "as `list` shows it",
            "recording.source": "`drive` or `local`",
            "recording.attempt": "which attempt it is",
            "strategy": "how bytes were fetched",
            "fallback_reason": "why FFmpeg got the whole file",
            "bytes.source": "of the recording",
            "bytes.fetched": "",
            "bytes.stored": "",
            "audio.seconds": "of what was stored",
            "retries": "of all requests",
        },
    ),
    "look": SpanText("What stands at the destination under the planned name."),
    "fetch.index": SpanText(
        "Reading the recording's index.",
        attributes={"container": "of the recording", **_FETCHED},
        events={
            **_RETRY,
            "fallback": "the picture cannot be left out: `reason`",
            "picture skipped": "the picture is not fetched: `gap_bytes`, `bytes`, `requests`",
            "spilled": "the recording went to the disk first, because FFmpeg has to seek in it",
        },
    ),
    "fetch.ranges": SpanText("Fetching the recording's bytes.", attributes=_FETCHED, events=_RETRY),
    "extract": SpanText(
        "FFmpeg at work, from its first to its last byte.",
        attributes={
            "encoders": "that work at the same time",
            "process.exit.code": "",
            "cpu_seconds": "of all FFmpegs",
            "decode_errors": "that FFmpeg passed over",
        },
        events={"ffmpeg.warnings": "what FFmpeg said, its last lines: `messages`"},
    ),
    "extract.decode": SpanText(
        "Handing the recording to one FFmpeg.", "extract", {"encoder": "which of them"}
    ),
    "extract.encode": SpanText(
        "One segment coming out of FFmpeg; the first 32.",
        "extract",
        {"encoder": "which of them", "segment": "which segment", "bytes": "of audio"},
    ),
    "upload": SpanText(
        "Writing the audio, while it is made.",
        attributes={"bytes": "of audio"},
        events={
            **_RETRY,
            "wrong_length": "the predicted number of samples was wrong: it is made again with the right one",
            "joint_differs": "a joint between segments was not as one encoder makes it: it is made again by one",
        },
    ),
    "upload.chunk": SpanText(
        "One chunk of an upload session; the first 32.", "upload", {"offset": "in bytes", "bytes": ""}
    ),
    "verify": SpanText(
        "Asking whether the recording is the same still, finishing, and comparing checksums.",
        attributes={"size_bytes": "of what stands there", "crc32c": "of it"},
    ),
    "record": SpanText("Writing the processing log and the database."),
    "GET, POST, … (client)": SpanText(
        "A call of Python to Google or another server; the first 128 of a trace.",
        "whatever asked",
        {**_HTTP, "server.address": "", "server.port": "", "url.full": "without its parameters"},
        is_call=True,
    ),
    "SELECT, UPDATE, …": SpanText(
        "A query; counted with the calls.",
        "whatever asked",
        {
            "db.system.name": "",
            "db.operation.name": "",
            "db.query.text": "with placeholders",
            "error.type": "of a query that failed",
        },
        is_call=True,
    ),
    "GET, POST, … (server)": SpanText(
        "A request to the dashboard.",
        "the caller's, by its `traceparent`",
        {**_HTTP, "url.path": "", "url.scheme": ""},
        is_call=True,
    ),
}
