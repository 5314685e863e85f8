"""How hypothesis looks for what breaks the agent: the same examples every time, or so many new ones.

HOSTILE_EXAMPLES=2000 .venv/bin/pytest tests/unit/test_hostile_world.py
"""

import os
import tempfile
from pathlib import Path
from typing import Self

from hypothesis import HealthCheck, settings

MORE = int(os.environ.get("HOSTILE_EXAMPLES", "0"))


def tries(examples: int) -> settings:
    """For tests that touch sockets and disks: no deadlines, and nothing is left behind in the tree."""
    return settings(
        max_examples=MORE or examples,
        derandomize=not MORE,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


class Yard:
    """A folder for one example: `state` is the agent's, `canary` beside it nobody may touch.

    In memory if there is such a place, for each example has a journal of its own.
    """

    def __init__(self) -> None:
        memory = "/dev/shm"
        self._folder = tempfile.TemporaryDirectory(dir=memory if Path(memory).is_dir() else None)
        self.path = Path(self._folder.name)
        self.state, self.canary = self.path / "state", self.path / "canary"

    def __enter__(self) -> Self:
        self.state.mkdir()
        for name in ("x", "output/a", "data/in.csv", "files/x", "container.log"):
            (self.canary / name).parent.mkdir(parents=True, exist_ok=True)
            (self.canary / name).write_text(f"canary {name}")
        self._before = tree_of(self.canary)
        return self

    def __exit__(self, *exc: object) -> None:
        self._folder.cleanup()

    def is_untouched(self) -> bool:
        """Whether everything outside of the state is as it was, and nothing was added."""
        names = {entry.name for entry in self.path.iterdir()}
        return names == {"state", "canary"} and tree_of(self.canary) == self._before


def tree_of(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that lies below: mode, time of change, content."""
    found = {}
    for one in [path, *path.rglob("*")]:
        info = one.lstat()
        found[str(one)] = (info.st_mode, info.st_mtime_ns, one.read_bytes() if one.is_file() else b"")
    return found
