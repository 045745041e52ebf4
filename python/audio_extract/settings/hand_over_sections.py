"""Settings of how programs are told that audio is ready: ``webhook``, ``pubsub``, ``file``."""

from __future__ import annotations

from pydantic import SecretStr  # noqa: TC002 - pydantic reads it

from audio_extract.settings.base import ExpandedPath, Section, key


class Webhook(Section):
    """A CloudEvent (JSON, HTTP POST) for each transfer that ended."""

    url: SecretStr | None = key(None, "Where it is posted to.")
    headers: dict[str, SecretStr] = key({}, "More headers, such as Authorization.")
    on_failure: bool = key(True, "Post when a recording failed.")
    on_success: bool = key(True, "Post when a recording is done.")


class PubSub(Section):
    """A Pub/Sub message with a CloudEvent for each transfer that ended."""

    topic: str | None = key(
        None,
        "Such as projects/my-project/topics/audio.",
        pattern=r"^projects/[a-z0-9.:-]{1,64}/topics/[A-Za-z][A-Za-z0-9._~+%-]{2,254}$",
        expected="projects/my-project/topics/my-topic",
    )
    credentials_path: ExpandedPath | None = key(
        None, "Key file of the account that publishes; absent: that of the bucket."
    )
    on_failure: bool = key(True, "Publish when a recording failed.")
    on_success: bool = key(True, "Publish when a recording is done.")


class EventFile(Section):
    """A CloudEvent (a line of JSON) for each transfer that ended, at the end of a file."""

    path: ExpandedPath | None = key(None, "The file, such as events.jsonl.")
    on_failure: bool = key(True, "Write when a recording failed.")
    on_success: bool = key(True, "Write when a recording is done.")
