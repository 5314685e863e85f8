"""What other threads want the main thread to do, and what came of it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from agent.core.errors import HostTrouble

T = TypeVar("T")


class Wishes:
    """A queue into the main thread; `ring` wakes it."""

    def __init__(self) -> None:
        self.ring: Callable[[], None] = lambda: None
        self._queue: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_over = False

    def hand(self, wish: Callable[[], T]) -> "Future[T]":
        """Have it done soon; any thread may ask."""
        future: Future[T] = Future()
        with self._lock:
            if self._is_over:
                future.set_exception(_over())
                return future
            self._queue.put((wish, future))
        self.ring()
        return future

    def serve(self) -> None:
        """Do all of it now; what a wish raises goes to who had it."""
        while (item := self._next()) is not None:
            wish, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(wish())
            except Exception as error:  # noqa: BLE001  who waits for it hears it
                future.set_exception(error)

    def refuse(self) -> None:
        """The agent ends: nothing will be done any more."""
        with self._lock:
            self._is_over = True
        while (item := self._next()) is not None:
            if item[1].set_running_or_notify_cancel():
                item[1].set_exception(_over())

    def _next(self) -> tuple[Callable[[], Any], "Future[Any]"] | None:
        try:
            return self._queue.get_nowait()
        except Empty:
            return None


def _over() -> HostTrouble:
    return HostTrouble("the agent is stopping")
