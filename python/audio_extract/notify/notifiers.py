"""All who are told, as the settings say."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from audio_extract.notify.apprise import AppriseNotifier
from audio_extract.notify.email import EmailNotifier
from audio_extract.notify.webhook import WebhookNotifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audio_extract.notify.ending import Ending, Notifier
    from audio_extract.settings import Settings


class Notifiers:
    """Tells each of them."""

    def __init__(self, notifiers: Sequence[Notifier]) -> None:
        self._notifiers = tuple(notifiers)

    @classmethod
    def from_settings(cls, settings: Settings) -> Notifiers:
        """Return those that are configured.

        Raises:
            ConfigurationError: One of them cannot be used.
        """
        wanted = settings.monitoring.notifications
        found: list[Notifier] = []
        if wanted.email.enabled:
            found.append(EmailNotifier(wanted.email))
        if wanted.apprise.urls:
            found.append(AppriseNotifier(wanted.apprise))
        if wanted.webhook.url is not None:
            source = f"//{socket.gethostname()}/audio-extract/{settings.environment}"
            found.append(WebhookNotifier(wanted.webhook, source=source))
        return cls(found)

    def __bool__(self) -> bool:
        """Whether there is anybody."""
        return bool(self._notifiers)

    def tell(self, ending: Ending) -> None:
        """A transfer ended."""
        for notifier in self._notifiers:
            notifier.tell(ending)

    def close(self) -> None:
        """Let each deliver what waits."""
        for notifier in self._notifiers:
            notifier.close()
