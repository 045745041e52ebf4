"""Tells people through Apprise: Slack, Discord, Teams, ntfy and a hundred other services by their URLs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from audio_extract.exceptions import ConfigurationError
from audio_extract.notify.digest import Digest
from audio_extract.notify.outbox import Outbox

if TYPE_CHECKING:
    from audio_extract.notify.ending import Ending
    from audio_extract.settings.service_sections import AppriseSettings

_log = logging.getLogger(__name__)


class AppriseNotifier:
    """Sends messages to the services that ``monitoring.notifications.apprise`` names.

    Raises:
        ConfigurationError: A URL is not one that Apprise knows, or the package is missing.
    """

    def __init__(self, settings: AppriseSettings) -> None:
        try:
            import apprise
        except ImportError as error:
            message = (
                "monitoring.notifications.apprise is set, and the package for it is missing: "
                "install audio-extract[apprise]"
            )
            raise ConfigurationError(message, code="config.invalid") from error
        # What it logs by itself can hold its URLs, and these hold tokens.
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        self._services: list[apprise.NotifyBase] = []
        for number, url in enumerate(settings.urls, start=1):
            service = apprise.Apprise.instantiate(url.get_secret_value())
            if service is None:
                message = (
                    f"monitoring.notifications.apprise.urls: number {number} is not a URL that Apprise "
                    "knows, such as slack://… or discord://… (its documentation lists them)"
                )
                raise ConfigurationError(message, code="config.invalid")
            self._services.append(service)
        self._outbox = Outbox("monitoring.notifications.apprise")
        self._digest = Digest(settings, self._enqueue)

    def tell(self, ending: Ending) -> None:
        """A transfer ended."""
        self._digest.tell(ending)

    def close(self) -> None:
        """Deliver what waits, for at most some seconds."""
        self._outbox.close()

    def _enqueue(self, subject: str, text: str) -> None:
        self._outbox.put(lambda: self._send(subject, text))

    def _send(self, subject: str, text: str) -> None:
        for number, service in enumerate(self._services, start=1):
            try:
                is_sent = service.notify(title=" ".join(subject.split())[:200], body=text)
            except Exception as error:  # noqa: BLE001 - plug-ins raise what they like; nobody must suffer for it
                is_sent = False
                reason = type(error).__name__
            else:
                reason = "it was refused, or nobody answered"
            if not is_sent:
                _log.warning(
                    "monitoring.notifications.apprise.urls: number %d (%s) took no message: %s",
                    number,
                    service.service_name,
                    reason,
                    extra={"event": "notify.failed"},
                )
