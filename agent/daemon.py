"""The main thread: reap jobs that ended, claim a job if a slot is free and every gate is open, sleep.

It tells the service manager what goes on, and that every thread gets on.
"""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic, time

from agent.core.errors import ConfigError, Stopped
from agent.core.gates import Gate
from agent.core.health import late_of
from agent.core.intake import record_of
from agent.core.joblog import JobLog
from agent.core.models import Job, Record, RefusedJob, Slot
from agent.core.status import AgentStatus, Mode, line_of
from agent.core.stopping import Stop
from agent.crew import Crew
from agent.delivery import STOP_S, let_deliver
from agent.heartbeat import Heartbeat
from agent.leftovers import Leftovers
from agent.looking import Looking, Options
from agent.owner import Owner
from agent.recover import load_resumed, slot_of
from agent.resting import Rests
from agent.station import Ending, Station, ended_line
from agent.toolbox import Tools
from agent.wakeup import WakeUp
from agent.wishes import Wishes

log = logging.getLogger(__name__)

DETACH_S = 5.0
"""So long does a stop wait for job threads: being killed anywhere is harmless, being slow to stop is not."""

START_S = 60.0
STATUS_EVERY_S = 10.0
"""`API 12 s ago` is told anew so often, while there is somebody to be told."""


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
        self._rests = Rests(station.self_test, tools.policy.host_failures, station.test_pace)
        self._tools = replace(tools, attempted=self._rests.attempted)
        self._heartbeat = heartbeat
        self._slots = tuple(slots)
        self._stop = stop
        self._station = station
        self._service = station.service
        self._crew = Crew(heartbeat, stop)
        leftovers = Leftovers(tools, self._adopt, self._get_on)
        self._looking = Looking(tools, options, leftovers, self._crew.job_ids)
        self._signals: Callable[[], frozenset[int]] = frozenset
        self._wanted_back = ""
        self._mode = Mode.TAKING
        self._late: dict[str, str] = {}
        self._ending = Ending.STOPPED
        self._started_at = time()

    def run(self, wake: WakeUp) -> Ending:
        """Live. Returns when asked to stop, when drained, or when `once` or `until_idle` is fulfilled."""
        self._crew.ring = self.owner.ring = self.wishes.ring = self._rests.ring = wake.ring
        self._signals = wake.pending
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
                    let_deliver(self._crew, self._station, wake, self._stops, self.feed)
                    break
        except Stopped:
            self._is_stopped_by(self._signals())
        finally:
            self._service.stopping()
            self._service.status(ended_line(self._ending, len(self._crew)))
            self._service.extend(STOP_S)
            self._stop.set()
            self._crew.detach(deadline := monotonic() + DETACH_S)
            self._rests.detach(deadline)
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
        self._wanted_back = ""
        is_news = [self._crew.reap(), self._rests.has_woken(), self.owner.mode is not self._mode]
        if any(is_news):
            self._looking.due_at = 0.0
        self._mode = self.owner.mode
        if self._is_over():
            return None
        due_at = self._crew.revive(self._tools, now)
        free = self._crew.free_of(self._slots)
        due_at = min(due_at, self._rests.tend(free, now))
        if free and now >= self._looking.due_at:
            self._look(free, now)
            if self._is_over():
                return None
        if self._crew.free_of(self._slots):
            return min(due_at, self._looking.due_at)
        return min(due_at, self._looking.rest(now, self._mode))

    def _look(self, free: Sequence[Slot], now: float) -> None:
        """Ask for a job for the first of the free slots that does not rest."""
        slot = [*self._rests.awake_of(free), *free][0]
        claimed = self._looking.look(
            slot,
            now,
            self._mode,
            took_a_job=self._crew.begun > 0,
            resting=self._rests.why_none(free),
        )
        for job in claimed:
            self._accept(job, slot)

    def _adopt(self, record: Record) -> None:
        self._crew.begin(self._tools, record, slot_of(record, self._slots), is_recovered=True)

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
        if signals & self._stops:
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
        if self._wanted_back:
            self._crew.release(job.id, self._wanted_back)

    def _get_on(self) -> None:
        """Between two questions to the outside. Raises `Stopped` if a signal asks for it."""
        self.feed()
        if self._stops & self._signals():
            raise Stopped("asked to stop")

    @property
    def _stops(self) -> set[int]:
        """The signals that end the agent."""
        return {signal.SIGTERM, signal.SIGINT} | ({signal.SIGHUP} if self._station.hangup_stops else set())

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
        silent = station.heard.trouble()
        is_free = bool(self._crew.free_of(self._slots))
        resting = () if Gate.RESTING in looking.gates else self._rests.troubles()
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
            troubles=(*looking.troubles.values(), *resting, *([silent] if silent else [])),
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

    def release_claimed(self, reason: str) -> None:
        """Have what is being claimed at this moment given back too; no job may be taken any more."""
        self._wanted_back = reason

    def try_resting(self) -> None:
        """Have every slot that rests tested now; any thread may ask."""
        self._rests.hurry()

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
        self._rests.limit = renewed.policy.host_failures
        self._slots = renewed.slots
        self._heartbeat.pace(renewed.beat_s)
        for sentence in renewed.sentences or ("Nothing has changed in the settings",):
            log.info("%s.", sentence)
        return renewed.sentences


def _image_of(job: Job | RefusedJob) -> str:
    return f", image {job.spec.handler.image_url}" if isinstance(job, Job) else ""
