"""Tells people and programs how recordings end: in words, or as CloudEvents.

Whoever is told may be slow or down: each notifier works in a thread of its own, with a queue that has an end,
and what cannot be delivered is logged and changes nothing about the recording.
"""

from audio_extract.notify.apprise import AppriseNotifier
from audio_extract.notify.email import EmailNotifier
from audio_extract.notify.ending import Ending, Notifier
from audio_extract.notify.event_file import FileNotifier
from audio_extract.notify.notifiers import Notifiers
from audio_extract.notify.pubsub import PubSubNotifier
from audio_extract.notify.webhook import WebhookNotifier

__all__ = [
    "AppriseNotifier",
    "EmailNotifier",
    "Ending",
    "FileNotifier",
    "Notifier",
    "Notifiers",
    "PubSubNotifier",
    "WebhookNotifier",
]
