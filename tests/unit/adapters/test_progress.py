"""How far long work is."""

import io
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.adapters.progress import Bars, Lines, progress_for, size_of
from tests.fakes.waiting import wait_until

MIB = 1024 * 1024


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines(caplog, clock):
    caplog.set_level(logging.INFO)
    return Lines(logging.getLogger("agent.test"), clock)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (-1, "0 B"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10 * MIB, "10 MiB"),
        (3.4 * 1024 * MIB, "3.4 GiB"),
        (1024**5, "1024 TiB"),
    ],
)
def test_sizes(size_bytes, text):
    """Two digits say enough."""
    assert size_of(size_bytes) == text


def test_quick_work_is_silent(lines, clock, caplog):
    """200 small files are not 200 lines."""
    with lines.task("a", 100) as task:
        task.advance(100)
        clock.now += 5
    assert not caplog.messages


def test_long_work_is_told_now_and_then(lines, clock, caplog):
    """Every ten seconds, and at its end."""
    with lines.task("big\nfile", 100 * MIB) as task:
        for _ in range(25):
            clock.now += 1
            task.advance(4 * MIB)
    assert caplog.messages == [
        "big file: 40 MiB of 100 MiB (40 %), 4.0 MiB/s.",
        "big file: 80 MiB of 100 MiB (80 %), 4.0 MiB/s.",
        "big file: done, 100 MiB in 25 s, 4.0 MiB/s.",
    ]


def test_unknown_total_and_a_new_attempt(lines, clock, caplog):
    """Without a total there is no share; an attempt that starts anew takes its bytes back."""
    with lines.task("x", None) as task:
        task.advance(5 * MIB)
        task.advance(-5 * MIB)
        clock.now += 10
        task.advance(MIB)
    assert caplog.messages == ["x: 1.0 MiB, 102 KiB/s.", "x: done, 1.0 MiB in 10 s, 102 KiB/s."]


def test_failed_work_is_not_done(lines, clock, caplog):
    """Whoever catches the error says what happened."""

    def fail():
        with lines.task("x", None):
            clock.now += 60
            raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        fail()
    assert not caplog.messages


@pytest.mark.parametrize("kind", ["bars", "lines"])
def test_many_threads(kind, lines, clock, monkeypatch, caplog):
    """Transfers advance from several threads at once, and no byte is lost."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Bars() if kind == "bars" else lines
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait()
        with progress.task(f"file {number}", 1000) as task:
            for _ in range(1000):
                task.advance(1)

    with progress.task("all", 8000) as everything, ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))
        clock.now += 11
        everything.advance(8000)
    if kind == "lines":
        assert caplog.messages[0].startswith("all: 7.8 KiB of 7.8 KiB (100 %)")


def live_threads():
    return sum("rich" in type(thread).__module__ for thread in threading.enumerate())


def test_bars_come_and_go(monkeypatch):
    """The display, and its thread, are there only while something is under way; log lines go above it."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bars = Bars()
    for name in ("first [bold]file[/bold]\x1b[31m", "second"):
        with bars.task(name, 2 * MIB) as task:
            with bars.task("other", None):
                task.advance(MIB)
            assert live_threads() == 1
            sys.stderr.write("a line\n")
            wait_until(lambda: "1.0/2.0 MiB" in terminal.getvalue())
            task.advance(MIB)
            wait_until(lambda: "2.0/2.0 MiB" in terminal.getvalue())
        wait_until(lambda: live_threads() == 0)
        assert sys.stderr is terminal
    text = terminal.getvalue()
    assert "first [bold]file[/bold][31m " in text
    assert text.count("a line") == 2


def test_bars_only_for_people():
    """Neither in a file nor among JSON lines."""
    assert isinstance(progress_for(Terminal(), json_lines=False), Bars)
    assert isinstance(progress_for(Terminal(), json_lines=True), Lines)
    assert isinstance(progress_for(io.StringIO(), json_lines=False), Lines)
