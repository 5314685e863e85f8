"""The main thread: reap jobs that ended, claim a job if a slot is free and every gate is open, sleep.

It tells the service manager what goes on, and that every thread gets on.
"""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from time import monotonic, time

from agent.core.errors import ConfigError
from agent.core.health import late_of
from agent.core.intake import record_of
from agent.core.joblog import JobLog
from agent.core.models import Job, RefusedJob, Slot
from agent.core.status import AgentStatus, Mode, line_of
from agent.core.stopping import Stop
from agent.crew import Crew
from agent.heard import HeardApi
from agent.heartbeat import Heartbeat
from agent.looking import Looking, Options
from agent.owner import Owner
from agent.ports_host import ServiceManager
from agent.recover import load_resumed
from agent.toolbox import Policy, Tools
from agent.wakeup import WakeUp
from agent.wishes import Wishes

log = logging.getLogger(__name__)

DETACH_S = 5.0
"""So long does a stop wait for job threads: being killed anywhere is harmless, being slow to stop is not."""

START_S = 60.0
STOP_S = 30.0
STATUS_EVERY_S = 10.0
"""`API 12 s ago` is told anew so often, while there is somebody to be told."""


class Ending(Enum):
    """Why the agent ended: it was asked to stop or had done what it was started for; or it was drained."""

    STOPPED = "stopped"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class Renewed:
    """What the settings say now, and a sentence for each change."""

    options: Options
    policy: Policy
    slots: tuple[Slot, ...]
    beat_s: float
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Station:
    """Who started the agent, and what is told of it.

    `reread` reads the settings again, raising `ConfigError`. `hangup_stops`: SIGHUP is a terminal's end.
    """

    service: ServiceManager
    heard: HeardApi
    reread: Callable[[], Renewed]
    version: str = ""
    api_url: str = ""
    account: str = ""
    free_bytes: Callable[[], int | None] = lambda: None
    hangup_stops: bool = False


class Daemon:
    """The agent's life: resume what is in the journal, then tick until asked to stop.

    `stop` is set by the first SIGTERM or SIGINT; every runner then returns at its next border with its
    record saved, and containers run on.
    """

    def __init__(
        self,
        tools: Tools,
        heartbeat: Heartbeat,
        slots: Sequence[Slot],
        options: Options,
        stop: Stop,
        station: Station,
    ) -> None:
        self.owner = Owner(tools.journal)
        self.wishes = Wishes()
        self._tools = tools
        self._heartbeat = heartbeat
        self._slots = tuple(slots)
        self._stop = stop
        self._station = station
        self._service = station.service
        self._crew = Crew(heartbeat, stop)
        self._looking = Looking(tools.api, tools.engine, tools.journal, options, self.feed)
        self._mode = Mode.TAKING
        self._late: dict[str, str] = {}
        self._ending = Ending.STOPPED
        self._started_at = time()

    def run(self, wake: WakeUp) -> Ending:
        """Live. Returns when asked to stop, when drained, or when `once` or `until_idle` is fulfilled."""
        self._crew.ring = self.owner.ring = self.wishes.ring = wake.ring
        self._service.extend(START_S)
        self._heartbeat.start()
        try:
            self.resume()
            self._tell()
            self._service.ready()
            while (next_at := self.tick(monotonic())) is not None:
                self.feed()
                self._tell()
                if self._is_stopped_by(wake.sleep(self._sleep_s(next_at))):
                    break
        finally:
            self._service.stopping()
            self._service.status(ended_line(self._ending, len(self._crew)))
            self._service.extend(STOP_S)
            self._stop.set()
            self._crew.detach(monotonic() + DETACH_S)
            self._heartbeat.stop()
            self.wishes.refuse()
        return self._ending

    def resume(self) -> None:
        """Go on with the jobs of the journal, and with what the owner asked for."""
        self.owner.recall()
        for record, slot in load_resumed(self._tools.journal, self._slots):
            self._crew.begin(self._tools, record, slot, is_recovered=True)

    def tick(self, now: float) -> float | None:
        """One look around; when the next one is due (monotonic seconds), None: there is nothing left."""
        self.wishes.serve()
        if self._crew.reap() or self.owner.mode is not self._mode:
            self._looking.due_at = 0.0
        mode = self._mode = self.owner.mode
        if self._is_over():
            return None
        if (free := self._crew.free_of(self._slots)) and now >= self._looking.due_at:
            claimed = self._looking.look(free[0], now, mode, took_a_job=self._crew.begun > 0)
            for job in claimed:
                self._accept(job, free[0])
            if self._is_over():
                return None
        if self._crew.free_of(self._slots):
            return self._looking.due_at
        self._looking.rest(mode)
        return float("inf")

    def _is_over(self) -> bool:
        if len(self._crew):
            return False
        if self.owner.may_leave():
            log.info("Drained: no job is left, the agent ends. The next start takes jobs again.")
            self._ending = Ending.DRAINED
            return True
        options = self._looking.options
        if options.once:
            return self._crew.begun > 0
        return options.until_idle and self._looking.is_queue_empty

    def _sleep_s(self, next_at: float) -> float | None:
        watchdog_s = self._service.watchdog_s
        limits = [next_at - monotonic()]
        limits += [watchdog_s / 3] if watchdog_s else []
        limits += [STATUS_EVERY_S] if self._service.is_there else []
        return None if min(limits) == float("inf") else max(0.0, min(limits))

    def _is_stopped_by(self, signals: frozenset[int]) -> bool:
        stops = {signal.SIGTERM, signal.SIGINT} | ({signal.SIGHUP} if self._station.hangup_stops else set())
        if signals & stops:
            log.info("Asked to stop: running containers go on, the next start adopts them.")
            return True
        if signal.SIGHUP in signals:
            self.wishes.hand(self.reload)
        return False

    def _accept(self, job: Job | RefusedJob, slot: Slot) -> None:
        if job.id is None:
            log.error("The API gave out a job that cannot be reported: %s.", job.reason)
            return
        if self._crew.works_on(job.id):
            log.warning("Job %d was given to us again while we work on it; going on.", job.id)
            return
        record = record_of(job, slot, time())
        JobLog(log, job.id).info("Claimed for slot %d%s.", slot.id, _image_of(job))
        self._crew.begin(self._tools, record, slot, is_recovered=False)

    def feed(self) -> None:
        """Tell the service manager that every thread gets on, if that is so."""
        late = late_of([self._heartbeat.sign(), *self._crew.signs()], monotonic())
        for thread in late.keys() - self._late.keys():
            log.error("%s.", late[thread])
        self._late = late
        if not late:
            self._service.alive()

    def _tell(self) -> None:
        if self._service.is_there:
            self._service.status(line_of(self.status(), time()))

    def status(self) -> AgentStatus:
        """What the agent is doing now; any thread may ask."""
        now, looking, station = time(), self._looking, self._station
        silent = station.heard.trouble(now)
        is_free = bool(self._crew.free_of(self._slots))
        return AgentStatus(
            version=station.version,
            pid=os.getpid(),
            started_at=self._started_at,
            api_url=station.api_url,
            account=station.account,
            mode=self.owner.mode,
            slots=len(self._slots),
            jobs=self._crew.statuses(),
            gates=tuple(looking.gates.values()),
            troubles=(*looking.troubles.values(), *([silent] if silent else [])),
            api_heard_at=station.heard.heard_at,
            next_look_at=now + max(0.0, looking.due_at - monotonic()) if is_free else None,
            free_bytes=station.free_bytes(),
        )

    def works_on(self, job_id: int) -> bool:
        """Whether this job is under way; any thread may ask."""
        return self._crew.works_on(job_id)

    def job_ids(self) -> tuple[int, ...]:
        """The jobs under way; any thread may ask."""
        return self._crew.job_ids()

    def release(self, job_id: int, reason: str) -> bool:
        """Have the job given back to the queue; any thread may ask. False if it is too late for that."""
        return self._crew.release(job_id, reason)

    def reload(self) -> tuple[str, ...]:
        """Take up what the settings say now; the main thread's. Raises `ConfigError`: all stays as it was."""
        self._service.reloading()
        try:
            renewed = self._station.reread()
        except ConfigError as error:
            log.error("The settings stay as they were: %s.", error)  # noqa: TRY400  a sentence, no traceback
            raise
        finally:
            self._service.ready()
        self._looking.options = renewed.options
        self._looking.due_at = 0.0
        self._tools = replace(self._tools, policy=renewed.policy)
        self._slots = renewed.slots
        self._heartbeat.pace(renewed.beat_s)
        for sentence in renewed.sentences or ("Nothing has changed in the settings",):
            log.info("%s.", sentence)
        return renewed.sentences


def ended_line(ending: Ending, left_jobs: int) -> str:
    """What stands in `systemctl status` of a service that has ended."""
    match ending:
        case Ending.DRAINED:
            return "Drained and ended; the next start takes jobs again"
        case Ending.STOPPED if left_jobs:
            return "Stopped; containers run on, the next start goes on with their jobs"
        case Ending.STOPPED:
            return "Stopped"


def _image_of(job: Job | RefusedJob) -> str:
    return f", image {job.spec.handler.image_url}" if isinstance(job, Job) else ""
