"""The threads that work on jobs, one for each; a job whose thread fell is begun again after a pause."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from time import monotonic

from agent.core.errors import HostTrouble
from agent.core.health import SignOfLife
from agent.core.joblog import JobLog
from agent.core.models import Phase, Record, Slot
from agent.core.retry import Backoff, delay_of
from agent.core.status import JobStatus, is_delivering
from agent.core.stopping import Stop
from agent.heartbeat import Heartbeat
from agent.ports import Journal
from agent.runner import Runner
from agent.toolbox import Tools
from agent.track import Track

log = logging.getLogger(__name__)

FALL_PACE = Backoff(base_s=10.0, cap_s=600.0)


@dataclass(frozen=True, slots=True)
class Member:
    """One job's thread, on its slot. `falls`: how often a thread of the job has fallen before."""

    job_id: int
    slot: Slot
    track: Track
    runner: Runner
    falls: int


@dataclass(frozen=True, slots=True)
class Fallen:
    """A job whose thread ended before the job did, or never began; tried again at `again_at` (monotonic).

    `wanted_back`: why it is to be given back then, empty if it is not.
    """

    record: Record
    slot: Slot
    track: Track
    falls: int
    again_at: float
    wanted_back: str = ""


class Crew:
    """The main thread begins, reaps and revives; any thread may ask, and `release`.

    `pace`: how long a job whose thread fell pauses, longer each time.
    """

    def __init__(self, heartbeat: Heartbeat, stop: Stop, pace: Backoff = FALL_PACE) -> None:
        self.begun = 0
        self.ring: Callable[[], None] = lambda: None
        self._heartbeat = heartbeat
        self._stop = stop
        self._pace = pace
        self._lock = threading.Lock()
        self._members: dict[threading.Thread, Member] = {}  # never changed in place: others read it
        self._fallen: dict[int, Fallen] = {}  # the same
        self._ended: SimpleQueue[threading.Thread] = SimpleQueue()

    def __len__(self) -> int:
        return len(self._members) + len(self._fallen)

    def begin(self, tools: Tools, record: Record, slot: Slot, *, is_recovered: bool, falls: int = 0) -> None:
        """Start a thread for the job; where that fails the job is kept, and it is tried again."""
        self.begun += 1
        try:
            self._start(tools, record, slot, is_recovered=is_recovered, falls=falls)
        except (RuntimeError, MemoryError) as error:  # RuntimeError: no thread can be started
            JobLog(log, record.job_id).error("Its thread cannot be started: %s.", str(error) or "no memory")
            if not is_recovered:
                _keep(tools.journal, record)
            track = Track(record, slot, tools.progress, tools.policy.allowed_silence_s)
            self._fall(Fallen(record, slot, track, falls, 0.0), "no thread for it can be started")

    def _start(self, tools: Tools, record: Record, slot: Slot, *, is_recovered: bool, falls: int) -> None:
        runner = Runner(tools, self._heartbeat, slot, record, self._stop, is_recovered=is_recovered)

        def work() -> None:
            try:
                runner.run()
            except Exception:  # noqa: BLE001  logged with the job; the others go on
                JobLog(log, record.job_id).exception("Its thread ended by an error.")
            finally:  # not by is_alive: the thread that rings is still alive
                self._ended.put(threading.current_thread())
                self.ring()

        thread = threading.Thread(target=work, name=f"job-{record.job_id}", daemon=True)
        member = Member(record.job_id, slot, runner.track, runner, falls)
        self._members = {**self._members, thread: member}
        try:
            thread.start()
        except BaseException:
            self._forget(thread)
            raise

    def reap(self) -> bool:
        """Let go of the threads that have ended; whether there were any."""
        had_ended = False
        while not self._ended.empty():
            thread = self._ended.get()
            thread.join()
            member = self._members[thread]
            if not member.runner.is_over and not self._stop.is_set():
                fallen = Fallen(member.runner.record, member.slot, member.track, member.falls, 0.0)
                self._fall(fallen, "the agent failed in its thread")
            self._forget(thread)
            had_ended = True
        return had_ended

    def revive(self, tools: Tools, now: float) -> float:
        """Begin the jobs again whose pause is over; when the next one's is (monotonic seconds)."""
        for job_id, fallen in list(self._fallen.items()):
            if fallen.again_at > now:
                continue
            record = _record_of(tools.journal, fallen.record)
            if record is not None:
                self.begin(tools, record, fallen.slot, is_recovered=True, falls=fallen.falls)
            if wanted_back := self._settle(job_id, fallen):
                self.release(job_id, wanted_back)
        return min((fallen.again_at for fallen in self._fallen.values()), default=float("inf"))

    def _settle(self, job_id: int, revived: Fallen) -> str:
        """Forget that it had fallen, unless it fell again; why it is to be given back now, empty if not."""
        with self._lock:
            fallen = self._fallen[job_id]
            wanted_back = fallen.wanted_back or revived.wanted_back
            has_fallen_again = fallen.falls > revived.falls
            kept = {job_id: replace(fallen, wanted_back=wanted_back)} if has_fallen_again else {}
            self._fallen = {one: it for one, it in self._fallen.items() if one != job_id} | kept
        return "" if has_fallen_again else wanted_back

    def free_of(self, slots: Sequence[Slot]) -> list[Slot]:
        """The slots on which nobody works."""
        busy = {member.slot.id for member in self._members.values()}
        busy |= {fallen.slot.id for fallen in self._fallen.values()}
        return [slot for slot in slots if slot.id not in busy]

    def works_on(self, job_id: int) -> bool:
        """Whether this job is under way."""
        return job_id in self.job_ids()

    def job_ids(self) -> tuple[int, ...]:
        """The jobs under way, each once."""
        members = [member.job_id for member in self._members.values()]
        return tuple(dict.fromkeys([*members, *self._fallen]))

    def release(self, job_id: int, reason: str) -> bool:
        """Have the job given back to the queue; False if it is too late for that."""
        with self._lock:
            fallen = self._fallen.get(job_id)
            if fallen is not None and fallen.record.phase in {Phase.STAGING_IN, Phase.RUNNING}:
                again = replace(fallen, again_at=0.0, wanted_back=reason)
                self._fallen = {**self._fallen, job_id: again}
                self.ring()
                return True
        members = self._members.values()
        return any(member.runner.release(reason) for member in members if member.job_id == job_id)

    def signs(self) -> list[SignOfLife]:
        """When each thread was last heard of."""
        return [member.track.sign() for member in self._members.values()]

    def statuses(self) -> tuple[JobStatus, ...]:
        """How far each job is."""
        tracks = {one.record.job_id: one.track for one in self._fallen.values()}
        tracks |= {member.job_id: member.track for member in self._members.values()}
        return tuple(track.status() for track in tracks.values())

    def is_delivering(self) -> bool:
        """Whether outputs are on their way out."""
        return any(map(is_delivering, self.statuses()))

    def detach(self, deadline: float) -> None:
        """Wait for the threads to return; who hangs on the network is left: each record is saved."""
        for thread, member in self._members.items():
            thread.join(max(0.0, deadline - monotonic()))
            if thread.is_alive():
                JobLog(log, member.job_id).warning("Leaving it in the middle of a request.")

    def _forget(self, thread: threading.Thread) -> None:
        self._members = {one: member for one, member in self._members.items() if one is not thread}

    def _fall(self, fallen: Fallen, why: str) -> None:
        pause_s = delay_of(fallen.falls, self._pace, 1.0)
        job_id = fallen.record.job_id
        JobLog(log, job_id).warning("Going on with it in %.0f s: %s.", pause_s, why)
        fallen.track.hinder(why)
        again = replace(fallen, falls=fallen.falls + 1, again_at=monotonic() + pause_s)
        with self._lock:
            self._fallen = {**self._fallen, job_id: again}


def _keep(journal: Journal, record: Record) -> None:
    """Write down what was claimed, so that a restart knows of it; a disk that does not serve is logged."""
    try:
        journal.save(record)
    except HostTrouble as trouble:
        JobLog(log, record.job_id).warning("It is kept in memory alone: %s.", trouble)


def _record_of(journal: Journal, remembered: Record) -> Record | None:
    """The job's record as the journal has it; None: it is closed."""
    try:
        kept = [record for record in journal.active() if record.job_id == remembered.job_id]
    except HostTrouble:
        return remembered
    if kept:
        return kept[0]
    return None if remembered.phase is Phase.DONE else remembered
