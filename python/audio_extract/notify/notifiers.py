"""All who are told, as the settings say."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from audio_extract.credentials import GoogleCredentials
from audio_extract.notify.apprise import AppriseNotifier
from audio_extract.notify.email import EmailNotifier
from audio_extract.notify.event_file import FileNotifier
from audio_extract.notify.pubsub import ENDPOINT, PubSubNotifier
from audio_extract.notify.webhook import WebhookNotifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audio_extract.notify.ending import Ending, Notifier
    from audio_extract.settings import Settings

_SCOPE: Final = "https://www.googleapis.com/auth/pubsub"


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
        source = f"//{socket.gethostname()}/audio-extract/{settings.environment}"
        if wanted.webhook.url is not None:
            found.append(WebhookNotifier(wanted.webhook, source=source))
        if wanted.pubsub.topic is not None:
            found.append(_pubsub(settings, source))
        if wanted.file.path is not None:
            found.append(FileNotifier(wanted.file, wanted.file.path, source=source))
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


def _pubsub(settings: Settings, source: str) -> PubSubNotifier:
    wanted = settings.monitoring.notifications.pubsub
    # As Google's own clients understand it: a host and a port.
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        return PubSubNotifier(wanted, source=source, token=None, endpoint=f"http://{emulator}")
    credentials = GoogleCredentials(
        key_file=wanted.credentials_path or settings.bucket_credentials_path,
        scopes=(_SCOPE,),
        setting="monitoring.notifications.pubsub.credentials_path",
    )
    return PubSubNotifier(wanted, source=source, token=credentials.token, endpoint=ENDPOINT)
