"""Waiting in tests: for conditions instead of times, with bounds that no slow machine meets by chance.

A test of what wakes somebody lets him wait `LONG_S` by himself and asserts that it took less than `SOON_S`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SOON_S = 20.0
LONG_S = 60.0
_SETTLE_S = 0.1


def wait_until(is_true: Callable[[], object]) -> None:
    """Sleep until it is true; fail if it never gets so."""
    deadline = time.monotonic() + LONG_S
    while not is_true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


@contextmanager
def once(is_true: Callable[[], object], act: Callable[[], object]) -> Iterator[Callable[[], float]]:
    """Act in another thread when something has come true while the block runs, and a moment has passed.

    What is yielded tells how many seconds ago that was.
    """
    over = threading.Event()
    acted_at: list[float] = []

    def watch() -> None:
        while not is_true():
            if over.wait(0.01):
                return
        over.wait(_SETTLE_S)  # who is in the block may have a step to go until he waits
        acted_at.append(time.monotonic())
        act()

    thread = threading.Thread(target=watch, name="once")
    thread.start()
    try:
        yield lambda: time.monotonic() - acted_at[0]
    finally:
        over.set()
        thread.join()
