"""Waits for a container's end, and sees to it that there is one."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from math import inf
from time import monotonic, time

from agent.core import stall
from agent.core.engine_models import ContainerExit, ContainerFact, ContainerStatus
from agent.core.errors import EngineTrouble, NameTaken, Unkillable
from agent.core.joblog import JobLog
from agent.core.lifecycle import duration_text
from agent.core.models import Record
from agent.core.retry import Backoff, delay_of
from agent.core.stopping import Stop
from agent.toolbox import Tools
from agent.track import Track

LONGEST_WAIT_S = 300.0
"""Each return from waiting for the container is a sign of life of the job's thread."""

KILL_PATIENCE_S = 120.0
"""So long a container that SIGKILL does not end is sent it again: what hangs on a disk may yet let go."""

_ENGINE_BACKOFF = Backoff(base_s=0.5, cap_s=5.0)  # Docker is on this machine: asking it costs nobody anything
_TROUBLES_MAX = 5  # in a row, each after an answer: then it is no outage


class Watch:
    """One job's container; `save` keeps what must be known before it is ended.

    Docker being away, hung or restarted is sat out here, as long as the container is there afterwards;
    `lost_sight` says whether that was so.
    """

    def __init__(
        self,
        tools: Tools,
        stop: Stop,
        track: Track,
        log: JobLog,
        save: Callable[[Record], None],
        gpu_uuids: tuple[str, ...] = (),
    ) -> None:
        self._tools = tools
        self._stop = stop
        self._track = track
        self._log = log
        self._save = save
        self._gpu_uuids = gpu_uuids
        self.lost_sight = False
        self._still: stall.Stillness | None = None
        self._is_stalled = False

    def until_end(self, record: Record, fact: ContainerFact) -> ContainerExit:
        """How it ended. Raises `EngineTrouble` if it vanished, `Unkillable`, `DiskTrouble`, `Stopped`.

        A record with an `ending` is that of a container which the agent was about to end.
        """
        name, over_at = fact.name, self._over_at(fact)
        sample_s = stall.pace_s(self._tools.policy.stall_warn_s) if self._tools.policy.stall_warn_s else inf
        sample_at = monotonic() + sample_s
        troubles = 0
        while True:
            try:
                wait_s = min(LONGEST_WAIT_S, over_at - monotonic(), sample_at - monotonic())
                if record.ending:
                    wait_s = 0.0
                ended = self._tools.engine.wait(name, timeout_s=max(0.0, wait_s), stop=self._stop)
                # One that has ended by itself was not over its time, whatever its age seems to be.
                if ended is None and not self._stop.is_set() and (record.ending or monotonic() >= over_at):
                    record = self._end(record, name)
            except (Unkillable, NameTaken):
                raise
            except EngineTrouble as trouble:
                troubles += 1
                self._sit_out(name, trouble, is_last=troubles >= _TROUBLES_MAX)
                continue
            troubles = 0
            if ended is not None:
                self._track.clear()
                return ended
            self._stop.check()
            if monotonic() >= sample_at:
                self._take_sample(name)
                sample_at = monotonic() + sample_s
            if not self._is_stalled:
                self._track.clear()

    def _over_at(self, fact: ContainerFact) -> float:
        """When its time is over, on the clock that does not jump."""
        limit_s = self._tools.policy.max_runtime_s
        if limit_s is None:
            return inf
        age_s = fact.age_s
        if age_s is None:  # the engine is on another machine: all there is are clocks that may jump
            age_s = min(max(0.0, time() - fact.started_at), limit_s)
        return monotonic() + limit_s - age_s

    def _end(self, record: Record, name: str) -> Record:
        """Write down why, then end it. Raises `Unkillable` when that has been tried for long enough."""
        if not record.ending:
            limit_s = self._tools.policy.max_runtime_s or 0.0
            record = replace(record, ending=f"timed out after {duration_text(limit_s)}")
            self._save(record)
        self._log.warning("Ending container %s: %s.", name, record.ending)
        patience_until = monotonic() + KILL_PATIENCE_S
        for attempt in count():
            try:
                self._tools.engine.kill(name, grace_s=self._tools.policy.stop_grace_s)
                break
            except Unkillable as trouble:
                self._track.hinder(str(trouble))
                if monotonic() >= patience_until:
                    raise
                self._log.warning("%s; trying again.", trouble)
            self._pause(attempt)
        return record

    def _sit_out(self, name: str, trouble: EngineTrouble, *, is_last: bool) -> None:
        """Return when Docker answers and still has the container; raise the trouble if it has not."""
        self.lost_sight = True
        self._track.hinder(str(trouble))
        if is_last:
            raise trouble
        self._log.warning("%s; waiting for Docker.", trouble)
        for attempt in count():
            self._pause(attempt)
            try:
                fact = self._tools.engine.look(name)
                break
            except EngineTrouble as again:
                self._track.hinder(str(again))
        if fact is None or fact.status is ContainerStatus.CREATED:
            raise trouble
        self._track.clear()
        self._log.info("Docker answers; container %s is %s.", name, fact.status)

    def _pause(self, attempt: int) -> None:
        pace = self._tools.policy.backoff
        quick = Backoff(min(pace.base_s, _ENGINE_BACKOFF.base_s), min(pace.cap_s, _ENGINE_BACKOFF.cap_s))
        self._stop.wait(delay_of(attempt, quick, random.random()))
        self._stop.check()

    def _take_sample(self, name: str) -> None:
        """See whether it does something, and tell if it has not for long."""
        try:
            fact = self._tools.engine.look(name)
            is_running = fact is not None and fact.status is ContainerStatus.RUNNING
            now = stall.Sample(monotonic(), self._tools.engine.activity(name)) if is_running else None
        except EngineTrouble as trouble:  # the next wait decides what that means
            self._log.debug("Nobody knows what its container does: %s", trouble)
            return
        if now is None:  # somebody paused it
            self._still = None
        else:
            if self._gpu_uuids and self._still is not None and not stall.is_moving(self._still.last, now):
                now = replace(now, gpu_percent=self._tools.gpu_use(self._gpu_uuids))
            self._still = stall.after_sample(self._still, now)
        self._tell()

    def _tell(self) -> None:
        limit_s, before = self._tools.policy.stall_warn_s, self._is_stalled
        self._is_stalled = stall.is_stalled(self._still, limit_s)
        if self._still is not None and self._is_stalled:
            self._track.hinder(stall.STALLED, since=time() - self._still.lasted_s)
        if self._is_stalled and not before:
            self._log.warning("It may hang: %s for %s.", stall.STALLED, duration_text(limit_s))
        elif before and not self._is_stalled:
            self._log.info("It moves again.")
