"""The folders of the agent's state and of its jobs: private, and one agent's alone."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.core.errors import ConfigError, DiskTrouble

log = logging.getLogger(__name__)

LOCK_NAME = "agent.lock"
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


@contextmanager
def hold_state_dir(path: Path) -> Iterator[None]:
    """Make the folder if it is not there and keep other agents out while the block runs.

    Raises `ConfigError` if it cannot be made or another agent works on it, `DiskTrouble` if the disk is full
    or broken. The lock ends with the process, however that ends.
    """
    with _descriptor_of(path, "STATE_DIR", LOCK_NAME) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            text = f"another decode-agent (process {holder}) works on STATE_DIR={path}: stop it first"
            raise ConfigError(text) from None
        with suppress(OSError):  # the number is for people; a full disk does not take it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        yield


@contextmanager
def hold_jobs_dir(path: Path) -> Iterator[bool]:
    """Make the folder of the jobs if it is not there and keep agents with another state out of it.

    Two of them would remove each other's folders as left over. Yields whether it is this agent's alone; not
    every network file system can tell. Raises as `hold_state_dir` does. The lock is on the folder itself.
    """
    with _descriptor_of(path, "PATH_HOST_BASE") as descriptor:
        is_ours = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"another decode-agent, with a STATE_DIR of its own, has its jobs in PATH_HOST_BASE={path}"
            raise ConfigError(f"{text}: give each its own folder") from None
        except OSError as error:
            log.warning(
                "PATH_HOST_BASE=%s cannot be locked (%s): what is left over there is not removed.",
                path,
                error.strerror,
            )
            is_ours = False
        yield is_ours


@contextmanager
def _descriptor_of(folder: Path, setting: str, file: str = "") -> Iterator[int]:
    """The folder itself, or a file in it, opened to be locked."""
    flags = os.O_RDWR | os.O_CREAT if file else os.O_RDONLY | os.O_DIRECTORY
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / file, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise DiskTrouble(f"{setting}={folder} cannot be used: {error.strerror}") from error
        fix = f"run as root, or set {setting} to a folder where this user may write"
        raise ConfigError(f"{setting}={folder} cannot be used: {error.strerror}: {fix}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
