"""A request to stop that reaches whoever waits, whatever they wait on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.core.errors import Stopped


class Stop:
    """Like `threading.Event`, plus callbacks that end a blocking call (shut a socket down, say).

    An event alone cannot wake a thread that sits in `recv`; a callback can. `attach` runs the callback
    in the thread that calls `set`, so it must be quick and must not raise.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._wakers: dict[object, Callable[[], None]] = {}

    def set(self) -> None:
        """Ask to stop; safe from any thread (not from a signal handler), any number of times."""
        with self._lock:
            self._event.set()
            wakers = list(self._wakers.values())
        for wake in wakers:
            wake()

    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Sleep at most `timeout_s` seconds; True as soon as a stop is asked for."""
        return self._event.wait(timeout_s)

    def check(self) -> None:
        """Raise `Stopped` if a stop was asked for."""
        if self._event.is_set():
            raise Stopped("asked to stop")

    @contextmanager
    def attach(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` when a stop is asked for while the block runs; at once if it already was."""
        key = object()
        with self._lock:
            self._wakers[key] = wake
            already = self._event.is_set()
        try:
            if already:
                wake()
            yield
        finally:
            with self._lock:
                del self._wakers[key]

    @contextmanager
    def child(self) -> Iterator["Stop"]:
        """A stop of one's own that also follows this one."""
        stop = Stop()
        with self.attach(stop.set):
            yield stop
