"""The folder of the agent's state: private, and one agent's alone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.core.errors import ConfigError

LOCK_NAME = "agent.lock"


@contextmanager
def hold_state_dir(path: Path) -> Iterator[None]:
    """Make the folder if it is not there and keep other agents out while the block runs.

    Raises `ConfigError` if it cannot be made or another agent works on it. The lock ends with the process,
    however that ends.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        fix = "run as root, or set STATE_DIR to a folder where this user may write"
        raise ConfigError(f"STATE_DIR={path} cannot be used: {error.strerror}: {fix}") from error
    with os.fdopen(descriptor, "r+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock.read().strip() or "unknown"
            text = f"another decode-agent (process {holder}) works on STATE_DIR={path}: stop it first"
            raise ConfigError(text) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
