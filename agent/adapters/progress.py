"""How far long work is: bars where a person watches, log lines where nobody does."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TextIO

from agent.core.amounts import size_of
from agent.core.wire import one_line
from agent.ports import Progress, Task

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

LINE_EVERY_S = 10.0
LONG_S = 5.0
_log = logging.getLogger(__name__)


def progress_for(stream: TextIO, *, json_lines: bool) -> Progress:
    """Bars where a person watches, lines where nobody does."""
    return Bars() if stream.isatty() and not json_lines else Lines(_log)


class Bars:
    """Fulfils `agent.ports.Progress` with a bar for each task that is under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown = 0
        self._progress: RichProgress | None = None

    @contextmanager
    def task(self, label: str, total_bytes: int | None) -> Iterator[Task]:
        """Show a bar until the block ends."""
        bar = self._add(label, total_bytes)
        try:
            yield bar
        finally:
            self._remove(bar)

    def _add(self, label: str, total_bytes: int | None) -> "_Bar":
        with self._lock:
            progress = self._progress = self._progress or _new_bars()
            if self._shown == 0:
                progress.start()
            self._shown += 1
            return _Bar(progress, progress.add_task(one_line(label, 60), total=total_bytes))

    def _remove(self, bar: "_Bar") -> None:
        with self._lock:
            bar.remove()
            self._shown -= 1
            if self._shown == 0 and self._progress is not None:
                self._progress.stop()


class _Bar:
    def __init__(self, progress: "RichProgress", task_id: "TaskID") -> None:
        self._progress = progress
        self._task_id = task_id

    def advance(self, size_bytes: int) -> None:
        self._progress.advance(self._task_id, size_bytes)

    def remove(self) -> None:
        self._progress.remove_task(self._task_id)


def _new_bars() -> "RichProgress":
    from rich.console import Console  # noqa: PLC0415  costs 50 ms, and only people need it
    from rich.progress import (  # noqa: PLC0415  same
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),  # file names are not ours
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class Lines:
    """Fulfils `agent.ports.Progress` with a log line now and then, none for what is quick."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock

    def task(self, label: str, total_bytes: int | None) -> AbstractContextManager[Task]:
        """Log until the block ends, and once more at its end if it took long."""
        return _LoggedTask(self._log, self._clock, one_line(label, 120), total_bytes)


class _LoggedTask:
    def __init__(
        self, log: logging.Logger, clock: Callable[[], float], label: str, total_bytes: int | None
    ) -> None:
        self._log = log
        self._clock = clock
        self._label = label
        self._total_bytes = total_bytes
        self._lock = threading.Lock()
        self._done_bytes = 0
        self._began = self._said = clock()

    def __enter__(self) -> Task:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        elapsed_s = self._clock() - self._began
        if kind is None and elapsed_s > LONG_S:
            self._log.info(
                f"{self._label}: done, {self._amount()} in {elapsed_s:.0f} s{self._speed(elapsed_s)}."
            )

    def advance(self, size_bytes: int) -> None:
        with self._lock:
            self._done_bytes += size_bytes
            now = self._clock()
            if now - self._said < LINE_EVERY_S:
                return
            self._said = now
        of = ""
        if self._total_bytes:
            of = f" of {size_of(self._total_bytes)} ({100 * self._done_bytes // self._total_bytes} %)"
        self._log.info(f"{self._label}: {self._amount()}{of}{self._speed(now - self._began)}.")

    def _amount(self) -> str:
        return size_of(self._done_bytes)

    def _speed(self, elapsed_s: float) -> str:
        return f", {size_of(self._done_bytes / elapsed_s)}/s" if elapsed_s > 0 else ""
