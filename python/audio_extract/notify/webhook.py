"""Tells programs: a CloudEvent for each transfer that ended, posted as JSON.

CloudEvents 1.0, HTTP protocol binding, structured content mode. The ``id`` is that of the transfer, so that a
receiver that gets an event twice can tell.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from audio_extract.notify.outbox import Outbox

if TYPE_CHECKING:
    from audio_extract.notify.ending import Ending
    from audio_extract.settings.service_sections import Webhook

_log = logging.getLogger(__name__)

_TYPES: Final = "audio-extract.recording"
_SECONDS: Final = 10.0
_WAITS: Final = (1.0, 2.0, 4.0, 8.0)
#: Busy, or broken for the moment.
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class WebhookNotifier:
    """Posts events to ``monitoring.notifications.webhook.url``.

    Args:
        settings: Where to, and of what.
        source: Of the events: which service this is.
        waits: Seconds before each further try.
    """

    def __init__(self, settings: Webhook, *, source: str, waits: tuple[float, ...] = _WAITS) -> None:
        self._settings = settings
        self._source = source
        self._waits = waits
        self._url = settings.url.get_secret_value() if settings.url is not None else ""
        self._outbox = Outbox("monitoring.notifications.webhook")

    def tell(self, ending: Ending) -> None:
        """A transfer ended."""
        is_wanted = self._settings.on_success if ending.status == "completed" else self._settings.on_failure
        if is_wanted:
            body = json.dumps(event(ending, self._source), ensure_ascii=False).encode("utf-8", "replace")
            self._outbox.put(lambda: self._deliver(body))

    def close(self) -> None:
        """Deliver what waits, for at most some seconds."""
        self._outbox.close()

    def _deliver(self, body: bytes) -> None:
        import requests

        headers = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
        headers["Content-Type"] = "application/cloudevents+json; charset=utf-8"
        reason = ""
        for wait in (*self._waits, None):
            try:
                # Who redirects a POST would get the headers, and with them the secrets.
                answer = requests.post(
                    self._url, data=body, headers=headers, timeout=_SECONDS, allow_redirects=False
                )
            except requests.RequestException as error:
                reason = type(error).__name__
            else:
                if answer.status_code < 300:
                    return
                reason = f"HTTP {answer.status_code}"
                if answer.status_code not in _AGAIN:
                    break
            if wait is None or self._outbox.closing.wait(wait):
                break
        _log.warning(
            "monitoring.notifications.webhook.url: %s took no event: %s",
            urlsplit(self._url).hostname,
            reason,
            extra={"event": "notify.failed"},
        )


def event(ending: Ending, source: str) -> dict[str, Any]:
    """Return a CloudEvent.

    Args:
        ending: What happened.
        source: Which service this is.
    """
    kind = "completed" if ending.status == "completed" else "failed"
    names = (
        "recording_id", "name", "source", "source_id", "status", "code", "storage_type", "bucket",
        "storage_path", "size_bytes", "crc32c", "generation", "audio_seconds", "trace_id",
    )  # fmt: skip
    data = {name: getattr(ending, name) for name in names}
    if kind == "failed":
        data["message"] = ending.text
        data["next_attempt_at"] = ending.next_attempt_at.isoformat() if ending.next_attempt_at else None
    return {
        "specversion": "1.0",
        "id": ending.id,
        "source": source,
        "type": f"{_TYPES}.{kind}",
        "subject": ending.storage_path or ending.name,
        "time": ending.at.isoformat(),
        "datacontenttype": "application/json",
        "data": {name: value for name, value in data.items() if value is not None},
    }
