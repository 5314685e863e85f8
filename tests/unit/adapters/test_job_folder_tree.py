"""The walk by descriptors, where only a race would show that it is needed."""

import errno
import os
from pathlib import Path

import pytest

from agent.adapters.job_folder_tree import Cursor, OddFile, disk_trouble, open_regular


def test_going_up_leads_only_where_it_came_from(tmp_path: Path):
    """A folder that is moved while the cursor is in it does not take the cursor along."""
    (tmp_path / "root" / "in").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    with Cursor(tmp_path / "root") as cursor:
        cursor.down("in")
        (tmp_path / "root" / "in").rename(tmp_path / "elsewhere" / "in")
        with pytest.raises(OSError, match="changed while it was read") as caught:
            cursor.up()
    assert caught.value.errno == errno.ESTALE


@pytest.mark.parametrize(("plant", "what"), [(os.mkfifo, "a FIFO"), (os.mkdir, "a folder"), (None, "a link")])
def test_only_regular_files_are_opened(tmp_path: Path, plant, what: str):
    """What turned into something else since it was looked at is recognised without opening it."""
    at = tmp_path / "x"
    at.symlink_to("/etc/passwd") if plant is None else plant(at)
    with Cursor(tmp_path) as cursor, pytest.raises(OddFile, match=what):
        os.close(open_regular(cursor, "x"))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "dmesg"),
        (errno.EACCES, "no permission"),
        (errno.EPERM, "no permission"),
        (errno.EMFILE, "LimitNOFILE"),
        (errno.ENAMETOOLONG, "File name too long"),
    ],
)
def test_disk_errors_say_what_to_do(number: int, advice: str):
    """One line with the path and what a person can do about it."""
    text = str(disk_trouble(OSError(number, os.strerror(number)), ("out", "a\n")))
    assert text.startswith("'out/a\\n': ")
    assert advice in text
