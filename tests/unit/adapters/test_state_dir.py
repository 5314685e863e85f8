"""One agent for each folder, whatever the disk is like."""

import errno
import fcntl
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.adapters.state_dir import LOCK_NAME, hold_jobs_dir, hold_state_dir
from agent.core.errors import ConfigError, DiskTrouble

HOLDS = {"state": (hold_state_dir, "STATE_DIR"), "jobs": (hold_jobs_dir, "PATH_HOST_BASE")}


@pytest.fixture(params=HOLDS)
def hold_and_setting(request):
    return HOLDS[request.param]


def test_a_folder_is_made_and_private(tmp_path, hold_and_setting):
    """With those above it."""
    hold, _ = hold_and_setting
    path = tmp_path / "a" / "b"
    with hold(path):
        assert path.stat().st_mode & 0o777 == 0o700


def test_a_second_one_is_kept_out_until_the_first_has_ended(tmp_path, hold_and_setting):
    """It is told which setting it is about, and what to do."""
    hold, setting = hold_and_setting
    with (
        hold(tmp_path),
        pytest.raises(ConfigError, match=f"another decode-agent.*{setting}={tmp_path}"),
        hold(tmp_path),
    ):
        pass
    with hold(tmp_path):
        pass


def test_the_state_says_who_holds_it(tmp_path):
    """Also if a longer number was there before."""
    (tmp_path / LOCK_NAME).write_text("9" * 20)
    with (
        hold_state_dir(tmp_path),
        pytest.raises(ConfigError, match=rf"\(process {os.getpid()}\)"),
        hold_state_dir(tmp_path),
    ):
        pass


def test_the_jobs_folder_stays_as_it_is(tmp_path):
    """What lies there is jobs' folders alone."""
    with hold_jobs_dir(tmp_path) as is_ours:
        assert is_ours
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_used_with_care(tmp_path, monkeypatch, caplog):
    """As some network file systems are: another machine may have put there what looks left over."""

    def fail(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with hold_jobs_dir(tmp_path) as is_ours:
        assert not is_ours
    assert "cannot be locked (No locks available)" in caplog.text


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, DiskTrouble),
        (errno.EDQUOT, DiskTrouble),
        (errno.EIO, DiskTrouble),
        (errno.EACCES, ConfigError),
        (errno.EROFS, ConfigError),
    ],
)
def test_a_disk_is_tried_again_and_a_setting_is_not(tmp_path, hold_and_setting, monkeypatch, number, error):
    """The service is started again after the first, not after the second."""
    hold, setting = hold_and_setting

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(error, match=f"{setting}=.*{os.strerror(number)}"), hold(tmp_path):
        pass


def test_a_full_disk_takes_the_lock_without_the_number(tmp_path, monkeypatch):
    """That is for people only."""

    def fail(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", fail)
    with ExitStack() as stack:
        stack.enter_context(hold_state_dir(tmp_path))
        with pytest.raises(ConfigError, match=r"\(process unknown\)"):
            stack.enter_context(hold_state_dir(tmp_path))
