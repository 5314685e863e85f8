"""Ranges, and uploads that break off."""

import asyncio

import pytest

from mock_api.bodies import UnsatisfiableRange, range_of, write_chunks
from mock_api.storage import LocalStorage


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-", range(10)),
        ("bytes=4-", range(4, 10)),
        ("bytes=4-5", range(4, 6)),
        ("bytes=4-99", range(4, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-99", range(10)),
        ("bytes=1-2,4-5", None),
        ("lines=1-2", None),
        ("bytes=x-y", None),
        ("bytes", None),
    ],
)
def test_range_of_ten_bytes(header, wanted):
    """One range is honoured, what cannot be understood gives everything."""
    assert range_of(header, 10) == wanted


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=5-4", "bytes=-0"])
def test_range_behind_the_end_is_refused(header):
    """There is nothing to send."""
    with pytest.raises(UnsatisfiableRange):
        range_of(header, 10)


async def pieces(*contents):
    for content in contents:
        if isinstance(content, Exception):
            raise content
        yield content


def test_upload_that_breaks_off_leaves_nothing(tmp_path):
    """Neither a file nor a temporary one."""
    storage = LocalStorage(tmp_path, "/user_data")
    with pytest.raises(ConnectionError):
        asyncio.run(write_chunks(pieces(b"1", ConnectionError()), storage))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_upload_over_the_limit_is_given_up(tmp_path):
    """At the first byte too many."""
    storage = LocalStorage(tmp_path, "/user_data")
    assert asyncio.run(write_chunks(pieces(b"12", b"34"), storage, max_bytes=3)) is None
    assert asyncio.run(write_chunks(pieces(b"12", b"3"), storage, max_bytes=3)).read_bytes() == b"123"
