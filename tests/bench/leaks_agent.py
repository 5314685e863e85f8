"""The real agent on an engine in memory, for `tests.bench.leaks`: thousands of jobs in minutes.

Takes the arguments of `decode-agent`. All but the engine is the real thing, and the engine forgets a
container that was removed.
"""

import sys
from typing import Any

from agent.cli import build, main
from agent.core.engine_models import ContainerFact
from tests.fakes.engine import FakeEngine, Script

IMAGE = "leaks:1"
_SCRIPT = Script(log=b"a line of the log\n" * 20, writes={"output/result": b"0123456789" * 100})


class LeanEngine(FakeEngine):
    """Every container writes one output and ends at once."""

    def __init__(self, base_url: str, agent_id: str, **_settings: Any) -> None:
        super().__init__(agent_id)
        self.base_url = base_url
        self.images = {IMAGE}

    def close(self) -> None:
        """Nothing is open."""

    def remove(self, name: str) -> None:
        """Remove it, and every memory of it."""
        super().remove(name)
        self.removed.clear()
        self.killed.clear()
        self.starts.pop(name, None)
        self.plans.pop(name, None)
        self._logs.pop(name, None)

    def _script(self, fact: ContainerFact) -> Script:
        del fact
        return _SCRIPT


if __name__ == "__main__":
    build.DockerEngine = LeanEngine  # type: ignore[assignment,misc]
    sys.exit(main())
