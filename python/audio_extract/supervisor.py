"""What the service tells systemd: that it runs, that it ends, and, again and again, that it lives.

Reference: sd_notify(3), sd_watchdog_enabled(3). A message is one datagram; without systemd none is sent.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

_log = logging.getLogger(__name__)

_SOCKET: Final = "NOTIFY_SOCKET"
_INTERVAL: Final = "WATCHDOG_USEC"
_PROCESS: Final = "WATCHDOG_PID"
_MICROSECONDS: Final = 1_000_000
#: A sign of life comes this often in the time that systemd waits for one.
_SIGNS: Final = 3


class Supervisor:
    """Sends what the process's supervisor wants to know.

    Args:
        address: Of a datagram socket; ``@`` stands for the zero byte of an abstract one. None: there is none.
        watchdog_seconds: How long the supervisor waits for a sign of life; None: it does not wait for any.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self,
        address: str | None = None,
        watchdog_seconds: float | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._interval = None if watchdog_seconds is None else watchdog_seconds / _SIGNS
        self._monotonic = monotonic
        self._last_sign: float | None = None

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> Supervisor:
        """Return the supervisor that the environment names, and take it out of there.

        FFmpeg, which reads files of strangers, must not be able to speak for the service.

        Args:
            environ: The process's environment.
        """
        address = environ.pop(_SOCKET, None)
        microseconds = environ.pop(_INTERVAL, "")
        # The one-file executable starts itself once more: systemd then means the process above this one.
        meant = environ.pop(_PROCESS, "") in {"", str(os.getpid()), str(os.getppid())}
        if not address or address[0] not in "/@":
            return cls()
        is_watched = meant and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address, int(microseconds) / _MICROSECONDS if is_watched else None)

    def ready(self) -> None:
        """The service runs: what was started after it may rely on it."""
        self._send("READY=1\nSTATUS=runs")
        self._last_sign = self._monotonic()

    def stopping(self) -> None:
        """The service ends: it takes nothing new, and finishes what runs."""
        self._send("STOPPING=1\nSTATUS=finishes what runs")

    def lives(self) -> None:
        """Give a sign of life, if one is due. To be called often, by what hangs when the service does."""
        if self._interval is None:
            return
        now = self._monotonic()
        if self._last_sign is None or now - self._last_sign >= self._interval:
            self._last_sign = now
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # systemd empties its socket at once; a supervisor that does not must not hold the service up.
                sender.settimeout(1)
                sender.sendto(message.encode(), address)
        except OSError as error:
            _log.warning(
                "systemd cannot be told %r: %s",
                message.partition("\n")[0],
                error.strerror or error,
                extra={"event": "service.supervisor_unreachable"},
            )
