"""The pipe that ends the main thread's sleep: signals, ended jobs and the control socket write to it."""

import os
import select
import signal
import threading
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class WakeUp:
    """Use it as a context manager in the main thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[signal.Signals, Any] = {}
        self._lock = threading.Lock()
        self._is_closed = False
        self._kept: frozenset[int] = frozenset()

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN or number is not signal.SIGHUP:  # nohup(1)
                self._before[number] = signal.signal(number, _do_nothing)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        with self._lock:  # a job's thread that was left behind may still ring
            self._is_closed = True
            os.close(self._read)
            os.close(self._write)

    def ring(self) -> None:
        """End the sleep; from any thread, also when it is over for good."""
        with self._lock:
            if self._is_closed:
                return
            try:
                os.write(self._write, b"\0")
            except BlockingIOError:
                return  # the pipe is full: it is awake anyway

    def pending(self) -> frozenset[int]:
        """The signals that arrived meanwhile; the next sleep tells them too."""
        ready, _, _ = select.select([self._read], [], [], 0)
        if ready:
            self._kept |= frozenset(os.read(self._read, 4096))
        return self._kept

    def sleep(self, timeout_s: float | None) -> frozenset[int]:
        """Sleep until rung, signalled or the time is over (None: never); the signals, 0 for a ring."""
        ready, _, _ = select.select([self._read], [], [], 0 if self._kept else timeout_s)
        kept, self._kept = self._kept, frozenset()
        return kept | frozenset(os.read(self._read, 4096)) if ready else kept


def _do_nothing(*_: object) -> None:
    """The pipe carries the number; a handler that sets an Event can deadlock on CPython 3.11."""
