"""systemd as the agent's service manager: sd_notify(3), by the package sdnotify.

systemd takes text in UTF-8 only, and a line that is none is dropped; sdnotify writes Latin-1. So what it is
given here are the bytes of UTF-8, each as the Latin-1 character of that number.
"""

import logging
import os
import time
from collections.abc import Mapping

from sdnotify import SystemdNotifier  # type: ignore[import-untyped]  # it brings no annotations

from agent.core.wire import one_line

log = logging.getLogger(__name__)

LINE_MAX_CHARS = 300
_SEND_LIMIT_S = 5.0
_MICRO = 1_000_000


class Systemd:
    """Fulfils `agent.ports_host.ServiceManager`; used by one thread at a time.

    A socket that does not take our messages is complained of once, and tried again with the next one.
    """

    is_there = True

    def __init__(self, watchdog_s: float | None) -> None:
        self.watchdog_s = watchdog_s
        self._notifier: SystemdNotifier | None = None
        self._status = ""
        self._has_complained = False

    def ready(self) -> None:
        """READY=1."""
        self._send("READY=1")

    def status(self, line: str) -> None:
        """STATUS=, unless systemd shows this line already."""
        line = one_line(line, LINE_MAX_CHARS)
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def alive(self) -> None:
        """WATCHDOG=1, if systemd waits for it."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """RELOADING=1, with the time by which systemd 253 and later tells it from an older one."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """STOPPING=1."""
        self._send("STOPPING=1")

    def extend(self, seconds: float) -> None:
        """EXTEND_TIMEOUT_USEC=."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * _MICRO)}")

    def close(self) -> None:
        """Close the socket."""
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.close()
        self._notifier = None

    def _send(self, message: str) -> bool:
        try:
            if self._notifier is None:
                self._notifier = SystemdNotifier(debug=True)  # without it every error would be swallowed
                self._notifier.socket.settimeout(_SEND_LIMIT_S)
            self._notifier.notify(message.encode().decode("latin-1"))
        except OSError as error:
            self.close()
            if not self._has_complained:
                log.error("systemd does not hear us through NOTIFY_SOCKET: %s.", error)  # noqa: TRY400  no traceback
                self._has_complained = True
            return False
        self._has_complained = False
        return True


class Nobody:
    """Fulfils `agent.ports_host.ServiceManager` where nobody listens."""

    is_there = False
    watchdog_s: float | None = None

    def ready(self) -> None:
        """Nobody waits for it."""

    def status(self, line: str) -> None:
        """Nobody shows it."""

    def alive(self) -> None:
        """Nobody waits for it."""

    def reloading(self) -> None:
        """Nobody waits for it."""

    def stopping(self) -> None:
        """Nobody waits for it."""

    def extend(self, seconds: float) -> None:
        """Nobody measures it."""

    def close(self) -> None:
        """There is nothing to close."""


def service_manager(environ: Mapping[str, str]) -> Systemd | Nobody:
    """systemd, if it started this process and listens; close it when done."""
    if not environ.get("NOTIFY_SOCKET"):
        log.debug("No service manager listens (NOTIFY_SOCKET is not set).")
        return Nobody()
    return Systemd(watchdog_of(environ, os.getpid()))


def watchdog_of(environ: Mapping[str, str], pid: int) -> float | None:
    """The interval of systemd's watchdog in seconds, if it waits for this process: sd_watchdog_enabled(3)."""
    interval_us = environ.get("WATCHDOG_USEC", "")
    if not (interval_us.isascii() and interval_us.isdecimal()) or int(interval_us) == 0:
        return None
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(interval_us) / _MICRO
