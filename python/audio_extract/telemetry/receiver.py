"""What is known of a receiver of traces or metrics: whether it takes what is sent. Says so only once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from audio_extract.telemetry.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audio_extract.telemetry.otlp import Signal

#: These say the same with each batch, each retry, and each span that finds the queue full.
SDK_LOGGERS = (
    "opentelemetry.exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.metrics",
    "opentelemetry.sdk.trace",
)

_log = logging.getLogger(__name__)


class Receiver:
    """Somebody that traces or metrics are sent to.

    Args:
        signal: What is sent.
        where: Where to, for the warning.
        listeners: Told of each export whether it went well; may be added to later.
    """

    def __init__(self, signal: Signal, where: str, listeners: Sequence[Callable[[bool], None]] = ()) -> None:
        self._signal = signal
        self._where = redact(where)
        self._listeners = listeners
        self._is_away = False
        for name in SDK_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def took(self) -> None:
        """An export went well."""
        for told in self._listeners:
            told(True)
        if self._is_away:
            self._is_away = False
            _log.info(
                "%s are sent to %s again",
                self._signal,
                self._where,
                extra={"event": "telemetry.sent_again", "signal": self._signal},
            )

    def refused(self, why: str = "it does not answer, or refuses them") -> None:
        """An export did not go well."""
        for told in self._listeners:
            told(False)
        if not self._is_away:
            self._is_away = True
            _log.warning(
                "%s cannot be sent to %s (%s): they are dropped until it answers; nothing else waits",
                self._signal,
                self._where,
                redact(why),
                extra={"event": "telemetry.not_sent", "signal": self._signal},
            )
