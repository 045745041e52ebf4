"""What each way to fail means and what to do about it, in plain words.

One row for each error code. The page, the notifications and ``audio-extract show`` use :func:`failure_text`;
``docs/failures.md`` is generated from the same table (``python -m audio_extract.failure_texts``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audio_extract.telemetry.redaction import redact

#: FFmpeg and servers can say a lot; the rest is in the log of the transfer.
_MAX_DETAIL: Final = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to fail.

    Attributes:
        cause: What happened, as the end of "Weekly sync.mp4: …".
        remedy: What a person does, or why nothing has to be done.
        self_explanatory: Messages with this code name setting and remedy themselves.
    """

    cause: str
    remedy: str
    self_explanatory: bool = False


def _said(cause: str, remedy: str) -> Failure:
    return Failure(cause, remedy, self_explanatory=True)


#: How remedies begin where the service goes on by itself.
AGAIN: Final = "nothing has to be done, it is tried again by itself"
_NETWORK: Final = f"{AGAIN}; if it stays, check network, DNS and proxy (audio-extract check)"

#: Code → what it means. The engine's codes come first, in the order of its documentation.
FAILURES: Final[dict[str, Failure]] = {
    "source.network": Failure("the connection to the source failed", _NETWORK),
    "source.stalled": Failure("the source stopped sending", _NETWORK),
    "source.server_error": Failure(
        "the source's server had an error", f"{AGAIN}; Google's status page says more"
    ),
    "source.truncated": Failure("the source ended the download too early", _NETWORK),
    "source.bad_range": Failure(
        "the source answered with other bytes than were asked for",
        f"{AGAIN}; if it stays, a proxy in between changes answers: try transfer.strategy: stream",
    ),
    "source.changed": Failure(
        "the recording was replaced while it was read",
        "nothing has to be done, the new version is taken next",
    ),
    "source.incomplete_listing": _said("Drive has not searched all of a folder", AGAIN),
    "source.not_mounted": _said(
        "the source folder is empty, and on another file system than before", "mount it (sources.local.path)"
    ),
    "source.checksum_mismatch": Failure(
        "what was downloaded is not what the source has (checksum)", f"{AGAIN}; nothing wrong was stored"
    ),
    "source.not_found": Failure(
        "the recording is not there (deleted, moved, or not shared with the account)",
        "restore it, or share it with the service account, then retry; else forget it",
    ),
    "source.permission_denied": Failure(
        "the account may not read it",
        "share the recording or its folder with the service account as Viewer (a file: let the service's "
        "user read it), then retry",
    ),
    "source.unauthenticated": Failure(
        "Google does not accept the credentials",
        "replace the key (google_drive.service_account_file) or sign in again; see audio-extract check",
    ),
    "source.rate_limited": Failure(
        "Google's request limit is used up for the moment",
        f"{AGAIN}; if it stays, lower processing.max_parallel_downloads or transfer.max_ranges",
    ),
    "source.quota_exceeded": Failure(
        "Drive's download quota of this one file is used up",
        "nothing has to be done, it is tried again in some hours; a copy in Drive has its own quota",
    ),
    "source.io": Failure(
        "the local file could not be read", "check disk and permissions of the source folder, then retry"
    ),
    "media.no_audio": Failure(
        "the recording has no sound",
        "nothing can be extracted; check the microphone for the next meeting, then forget it",
    ),
    "media.encrypted": Failure(
        "the sound is encrypted (DRM)",
        "get a copy without protection, put it into the folder, then forget this one",
    ),
    "media.track_not_found": Failure(
        "the recording does not have the audio track that was asked for",
        "correct processing.audio_format.track (0 is the first), then retry",
    ),
    "media.outputs_impossible": Failure(
        "what is wanted beside its audio cannot be made of this recording",
        "correct processing.outputs, or ask for something else on its page, then retry",
    ),
    "media.unreadable": Failure(
        "it cannot be read: damaged, cut off, or not a recording at all",
        "play it where it is stored; if that fails too, upload it again and forget this one; else retry",
    ),
    "media.unsupported": Failure(
        "this build of FFmpeg has no decoder for its sound",
        "install a complete FFmpeg (apt-get install ffmpeg), set processing.ffmpeg.path to it, then retry",
    ),
    "media.cannot_copy": Failure(
        "this kind of sound cannot be copied as it is",
        "set processing.audio_format.codec to mp3 or another encoder, then retry",
    ),
    "ffmpeg.not_found": _said(
        "FFmpeg is not installed or does not start",
        "install FFmpeg (apt-get install ffmpeg, brew install ffmpeg), or set processing.ffmpeg.path",
    ),
    "ffmpeg.bad_options": Failure(
        "this FFmpeg cannot make the wanted format",
        "install a complete FFmpeg (with libmp3lame and libopus), or change processing.audio_format",
    ),
    "ffmpeg.killed": Failure(
        "FFmpeg was ended from outside",
        f"{AGAIN}; if it stays, give the service more memory (out-of-memory killer)",
    ),
    "ffmpeg.stalled": Failure(
        "FFmpeg made no progress",
        f"{AGAIN}; on a slow machine raise processing.ffmpeg.stall_timeout_seconds",
    ),
    "destination.exists": Failure(
        "a file with that name exists already", "remove or rename it, or choose another name, then retry"
    ),
    "destination.network": Failure("the connection to the destination failed", _NETWORK),
    "destination.stalled": Failure("the destination stopped answering", _NETWORK),
    "destination.server_error": Failure(
        "the destination's server had an error", f"{AGAIN}; Google's status page says more"
    ),
    "destination.session_gone": Failure("the upload was ended by the destination", AGAIN),
    "destination.not_found": Failure(
        "the bucket or folder does not exist",
        "create it, or correct storage.gcs.bucket_name (or storage.local.path), then retry",
    ),
    "destination.permission_denied": Failure(
        "the account may not write there",
        "give it the role Storage Object User on the bucket (or write permission on the folder), then retry",
    ),
    "destination.unauthenticated": Failure(
        "Cloud Storage does not accept the credentials",
        "replace the key (storage.gcs.credentials_path) or sign in again; see audio-extract check",
    ),
    "destination.rate_limited": Failure(
        "Cloud Storage's request limit is used up for the moment",
        f"{AGAIN}; if it stays, lower processing.max_parallel_downloads",
    ),
    "destination.checksum_mismatch": Failure(
        "what was stored is not what was sent (checksum)", f"{AGAIN}; the wrong file does not stay"
    ),
    "destination.no_space": Failure(
        "the destination or the temporary folder is full",
        "make room or raise the quota; it goes on by itself then",
    ),
    "destination.io": Failure(
        "the file could not be written", "check disk and permissions of the destination, then retry"
    ),
    "destination.protocol": Failure(
        "the destination answered with something that Cloud Storage does not say",
        f"{AGAIN}; if it stays, a proxy in between changes answers: go round it",
    ),
    "token.failed": Failure(
        "no access token could be had",
        "check the key file or the machine's credentials (audio-extract check says which)",
    ),
    "request.invalid": _said(
        "the transfer was asked for in a wrong way", "correct the setting or flag that the message names"
    ),
    "cancelled": Failure("it was stopped", "nothing has to be done, it goes on at the next start"),
    "internal.bug": Failure(
        "the program made a mistake", "report it with the log of this transfer, then retry"
    ),
    "source.not_configured": Failure(
        "its source is not in the settings any more",
        "set it again (google_drive.recordings_folder_id or sources.local.path), then retry; else forget it",
    ),
    "config.invalid": _said("a setting is wrong", "correct the setting that the message names"),
    "config.missing": _said("a setting is missing", "set what the message names"),
    "config.file_not_found": _said(
        "the settings file does not exist", "check the path, or make one (audio-extract config init)"
    ),
    "config.unreadable": _said("the settings file cannot be read", "correct the line that the message names"),
    "config.key_file": _said(
        "a key file cannot be used", "correct the path that the message names, or download a new key"
    ),
    "config.port_in_use": _said(
        "a port is taken by another program",
        "stop the other program, or change the port that the message names",
    ),
    "usage.invalid": _said(
        "the command was called in a wrong way", "see the message, and audio-extract COMMAND --help"
    ),
    "service.failed": _said(
        "a step of installing the service failed",
        "see the message; `service install --dry-run` shows all steps",
    ),
    "service.hidden_program": _said(
        "the program stands where the service cannot see it",
        "install it in /opt/audio-extract, or use the one-file executable in /usr/local/bin",
    ),
    "service.no_systemd": _said(
        "systemd does not run this machine",
        "run `audio-extract run` under this system's own supervisor; --root prepares a system that is off",
    ),
    "service.not_root": _said("only root can install a service", "run it with sudo, or look with --dry-run"),
    "usage.needs_yes": _said("a question needs an answer", "run it again with --yes"),
    "database.bad_url": _said(
        "monitoring.database_path is not a database", "correct it: a file, or postgresql://user@host/name"
    ),
    "database.unsupported": _said("this kind of database is not supported", "use SQLite or PostgreSQL"),
    "database.no_driver": _said(
        "the driver for this database is not installed", "install it: pip install 'audio-extract[postgresql]'"
    ),
    "database.in_memory": _said(
        "a database in memory would forget everything", "set monitoring.database_path to a file"
    ),
    "database.cannot_open": _said(
        "the database cannot be opened", "check path and permissions of monitoring.database_path"
    ),
    "database.unavailable": Failure(
        "the database does not answer", "start it, or correct monitoring.database_path; the service waits"
    ),
    "database.import": _said(
        "the file is not a database of the earlier service, or cannot be read", "name another file"
    ),
    "redis.unavailable": Failure(
        "Redis does not answer",
        "start it, or remove redis.url; folders are listed without a cache meanwhile",
    ),
    "database.not_a_database": _said(
        "monitoring.database_path is not a SQLite database", "correct the path; the file was left as it is"
    ),
    "database.damaged": _said(
        "the database is damaged",
        "put a copy back, or move it away: the next round makes a new one and adopts what is stored",
    ),
    "database.foreign": _said(
        "the database belongs to another program", "use another file or database name; nothing was changed"
    ),
    "database.too_new": _said(
        "the database was made by a newer version", "run that version, or restore the backup from before"
    ),
    "database.network_mount": _said(
        "SQLite does not work safely on a network mount", "use a local disk, or PostgreSQL"
    ),
    "database.no_wal": _said(
        "SQLite cannot use its write-ahead log there", "use a local disk, or PostgreSQL"
    ),
    "database.no_space": Failure("the disk of the database is full", "make room on it; nothing was lost"),
    "database.empty": _said(
        "the database holds nothing yet", "run audio-extract once, or correct monitoring.database_path"
    ),
    "database.needs_upgrade": _said(
        "the database was made by another version", "run audio-extract db upgrade; it keeps a copy"
    ),
    "service.unreachable": Failure(
        "no service answers", "start it (audio-extract run), or say where it is (audio-extract top --url URL)"
    ),
    "service.no_address": _said("the settings do not say where the service answers", "say it with --url"),
    "service.not_ours": _said(
        "another program, or another version, answers there", "correct --url or monitoring.dashboard_port"
    ),
    "service.unauthenticated": Failure(
        "the service wants to know who asks",
        "set AUDIO_EXTRACT_TOKEN to a token of its settings (or to the one it printed at its start)",
    ),
    "service.forbidden": _said("this takes an operator's token", "use one (AUDIO_EXTRACT_TOKEN)"),
    "service.unavailable": _said("the service cannot answer just now", AGAIN),
    "execution.needs_postgresql": _said(
        "workers on several machines need a database that they share",
        "set monitoring.database_path to a URL that begins with postgresql://",
    ),
    "execution.no_queue": _said(
        "there are no jobs to take", "set execution.backend to procrastinate, or use audio-extract run"
    ),
    "tracker.not_found": _said("no recording is called that", "see audio-extract list"),
    "tracker.crash_limit": Failure(
        "the service crashed every time while it worked on this recording",
        "report it with the log of this transfer; retry it after an update",
    ),
    "tracker.lease_lost": Failure(
        "another worker took it over", "nothing has to be done, the other one goes on"
    ),
    "tracker.illegal_transition": Failure(
        "the program made a mistake", "report it with the log of this transfer"
    ),
}


@dataclass(frozen=True, slots=True)
class FailureParts:
    """What happened, in parts that a page shows each in its place.

    Attributes:
        cause: What happened.
        remedy: What to do; None where the cause says so itself.
        detail: What the error itself said beyond that; None where it is the cause.
    """

    cause: str
    remedy: str | None = None
    detail: str | None = None


def failure_parts(code: str, name: str, message: str) -> FailureParts:
    """Return what happened to a recording, for people, where its name is told already.

    Args:
        code: The error's stable name.
        name: How people call the recording; left out at the beginning of the message.
        message: What the error itself says; secrets in it are removed.
    """
    detail = redact(" ".join(message.split())).removeprefix(f"{name}: ")
    if len(detail) > _MAX_DETAIL:
        detail = detail[: _MAX_DETAIL - 1].rstrip() + "…"
    failure = FAILURES.get(code)
    if failure is None:
        return FailureParts(detail or code)
    if failure.self_explanatory and detail:
        return FailureParts(detail)
    return FailureParts(failure.cause, failure.remedy, detail or None)


def failure_text(code: str, name: str, message: str) -> str:
    """Return the same in one text that begins with the name: the cause, what to do, the detail."""
    parts = failure_parts(code, name, message)
    begins = "" if parts.cause.startswith(name) else f"{name}: "
    to_do = "" if parts.remedy is None else f". To do: {parts.remedy}."
    more = "" if parts.detail is None else f" Detail: {parts.detail}"
    return f"{begins}{parts.cause}{to_do}{more}"


def remedy(code: str) -> str | None:
    """Return what to do about a failure; None where messages say so themselves, or the code is not known."""
    failure = FAILURES.get(code)
    return failure.remedy if failure and not failure.self_explanatory else None


def markdown() -> str:
    """Return ``docs/failures.md``."""
    rows = "".join(f"| `{code}` | {text.cause} | {text.remedy} |\n" for code, text in FAILURES.items())
    return (
        "# What can fail\n\n"
        "Generated from `python/audio_extract/failure_texts.py` with "
        "`python -m audio_extract.failure_texts > docs/failures.md`; a test compares the two. "
        "Codes are stable; texts may change.\n\n"
        "*Retry* is `audio-extract retry ID`, *forget* is `audio-extract forget ID`.\n\n"
        "| code | what happened | what to do |\n|---|---|---|\n" + rows
    )


if __name__ == "__main__":
    print(markdown(), end="")
