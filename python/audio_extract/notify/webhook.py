"""Tells programs: a CloudEvent for each transfer that ended, posted as JSON.

HTTP protocol binding, structured content mode.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from audio_extract.notify.cloud_event import event, is_wanted
from audio_extract.notify.delivery import WAITS, post
from audio_extract.notify.outbox import Outbox

if TYPE_CHECKING:
    from audio_extract.notify.ending import Ending
    from audio_extract.settings.hand_over_sections import Webhook

_log = logging.getLogger(__name__)


class WebhookNotifier:
    """Posts events to ``monitoring.notifications.webhook.url``.

    Args:
        settings: Where to, and of what.
        source: Of the events: which service this is.
        waits: Seconds before each further try.
    """

    def __init__(self, settings: Webhook, *, source: str, waits: tuple[float, ...] = WAITS) -> None:
        self._settings = settings
        self._source = source
        self._waits = waits
        self._url = settings.url.get_secret_value() if settings.url is not None else ""
        self._outbox = Outbox("monitoring.notifications.webhook")

    def tell(self, ending: Ending) -> None:
        """A transfer ended."""
        if is_wanted(ending, on_success=self._settings.on_success, on_failure=self._settings.on_failure):
            body = json.dumps(event(ending, self._source), ensure_ascii=False).encode("utf-8", "replace")
            self._outbox.put(lambda: self._deliver(body))

    def close(self) -> None:
        """Deliver what waits, for at most some seconds."""
        self._outbox.close()

    def _deliver(self, body: bytes) -> None:
        headers = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
        headers["Content-Type"] = "application/cloudevents+json; charset=utf-8"
        reason = post(self._url, body, headers, waits=self._waits, closing=self._outbox.closing)
        if reason is not None:
            _log.warning(
                "monitoring.notifications.webhook.url: %s took no event: %s",
                urlsplit(self._url).hostname,
                reason,
                extra={"event": "notify.failed"},
            )
