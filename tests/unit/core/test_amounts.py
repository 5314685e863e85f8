"""Sizes and times as a person says them."""

import time

import pytest

from agent.core.amounts import clock_text, free_text, share_text

GIB = 1024**3


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (3.1 * GIB, 10 * GIB, "3.1 of 10 GiB"),
        (0, 10 * GIB, "0.0 of 10 GiB"),
        (12 * GIB, 34 * GIB, "12 of 34 GiB"),
        (5, 100, "5 of 100 B"),
        (3.1 * GIB, None, "3.1 GiB"),
        (-5, 100, "0 of 100 B"),
    ],
)
def test_shares(done, total, text):
    """Both in the unit of the total; without one the size alone."""
    assert share_text(done, total) == text


@pytest.mark.parametrize(
    ("size", "text"), [(212_000_000_000, "212 GB"), (9_940_000_000, "9.9 GB"), (0, "0.0 GB")]
)
def test_free_space(size, text):
    """Decimal, as disks are sold."""
    assert free_text(size) == text


def test_the_clock():
    """Today the time of day says it all."""
    at = time.mktime((2026, 3, 5, 14, 2, 0, 0, 0, -1))
    assert clock_text(at, at + 3600) == "14:02"
    assert clock_text(at, at + 2 * 86400) == "2026-03-05 14:02"
