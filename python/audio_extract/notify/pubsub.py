"""Tells programs through Google Cloud Pub/Sub: a message with a CloudEvent for each transfer that ended.

CloudEvents' binding for Pub/Sub, structured content mode, published through the REST API: these are few
messages, and a client library with gRPC is as large as the rest of the program.
"""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING, Final

from audio_extract.exceptions import AudioExtractError
from audio_extract.notify.cloud_event import event, is_wanted
from audio_extract.notify.delivery import WAITS, post
from audio_extract.notify.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from audio_extract.notify.ending import Ending
    from audio_extract.settings.hand_over_sections import PubSub

_log = logging.getLogger(__name__)

ENDPOINT: Final = "https://pubsub.googleapis.com"


class PubSubNotifier:
    """Publishes events to ``monitoring.notifications.pubsub.topic``.

    Args:
        settings: Where to, and of what.
        source: Of the events: which service this is.
        token: Gives an access token and when it expires; None: nobody has to sign in (an emulator).
        endpoint: Of the API.
        waits: Seconds before each further try.
    """

    def __init__(
        self,
        settings: PubSub,
        *,
        source: str,
        token: Callable[[], tuple[str, float]] | None,
        endpoint: str = ENDPOINT,
        waits: tuple[float, ...] = WAITS,
    ) -> None:
        self._settings = settings
        self._source = source
        self._token = token
        self._url = f"{endpoint}/v1/{settings.topic}:publish"
        self._waits = waits
        self._outbox = Outbox("monitoring.notifications.pubsub")

    def tell(self, ending: Ending) -> None:
        """A transfer ended."""
        if is_wanted(ending, on_success=self._settings.on_success, on_failure=self._settings.on_failure):
            happened = event(ending, self._source)
            text = json.dumps(happened, ensure_ascii=False).encode("utf-8", "replace")
            message = {
                "data": base64.b64encode(text).decode("ascii"),
                # Subscriptions can filter by these.
                "attributes": {
                    "content-type": "application/cloudevents+json; charset=utf-8",
                    "ce-id": happened["id"],
                    "ce-type": happened["type"],
                },
            }
            body = json.dumps({"messages": [message]}).encode("ascii")
            self._outbox.put(lambda: self._deliver(body))

    def close(self) -> None:
        """Deliver what waits, for at most some seconds."""
        self._outbox.close()

    def _deliver(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        try:
            if self._token is not None:
                headers["Authorization"] = f"Bearer {self._token()[0]}"
            reason = post(self._url, body, headers, waits=self._waits, closing=self._outbox.closing)
        except AudioExtractError as error:
            reason = error.message
        if reason is not None:
            _log.warning(
                "monitoring.notifications.pubsub: %s took no event: %s",
                self._settings.topic,
                reason,
                extra={"event": "notify.failed"},
            )
