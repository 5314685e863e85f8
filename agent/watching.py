"""Waits for a container's end, and sees to it that there is one."""

from collections.abc import Callable
from dataclasses import replace
from time import time

from agent.core.container import container_name
from agent.core.engine_models import ContainerExit, ContainerFact
from agent.core.joblog import JobLog
from agent.core.lifecycle import duration_text
from agent.core.models import Record
from agent.core.stopping import Stop
from agent.toolbox import Tools
from agent.track import Track

LONGEST_WAIT_S = 300.0
"""Each return from waiting for the container is a sign of life of the job's thread."""


class Watch:
    """One job's container; `save` keeps what must be known before it is ended."""

    def __init__(
        self, tools: Tools, stop: Stop, track: Track, log: JobLog, save: Callable[[Record], None]
    ) -> None:
        self._tools = tools
        self._stop = stop
        self._track = track
        self._log = log
        self._save = save

    def until_end(self, record: Record, fact: ContainerFact) -> ContainerExit:
        """How it ended. Raises `EngineTrouble`, `Stopped`."""
        name = container_name(record.job_id)
        policy, engine = self._tools.policy, self._tools.engine
        while True:
            left_s = LONGEST_WAIT_S
            if policy.max_runtime_s is not None:
                left_s = min(left_s, fact.started_at + policy.max_runtime_s - time())
            ended = engine.wait(name, timeout_s=max(1.0, left_s), stop=self._stop)
            self._track.clear()
            if ended is not None:
                return ended
            self._stop.check()
            if left_s <= 1.0:
                self._log.warning("Its time is over; ending it.")
                record = replace(
                    record, ending=f"timed out after {duration_text(policy.max_runtime_s or 0.0)}"
                )
                self._save(record)
                engine.kill(name, grace_s=policy.stop_grace_s)
