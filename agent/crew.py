"""The threads that work on jobs, one for each."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic

from agent.core.health import SignOfLife
from agent.core.joblog import JobLog
from agent.core.models import Record, Slot
from agent.core.status import JobStatus
from agent.core.stopping import Stop
from agent.heartbeat import Heartbeat
from agent.runner import Runner
from agent.toolbox import Tools
from agent.track import Track

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Member:
    """One job's thread, on its slot."""

    job_id: int
    slot: Slot
    track: Track
    release: Callable[[str], bool]


class Crew:
    """The main thread begins and reaps; any thread may ask for `signs` and `statuses`."""

    def __init__(self, heartbeat: Heartbeat, stop: Stop) -> None:
        self.begun = 0
        self.ring: Callable[[], None] = lambda: None
        self._heartbeat = heartbeat
        self._stop = stop
        self._members: dict[threading.Thread, Member] = {}  # never changed in place: others read it
        self._ended: SimpleQueue[threading.Thread] = SimpleQueue()

    def __len__(self) -> int:
        return len(self._members)

    def begin(self, tools: Tools, record: Record, slot: Slot, *, is_recovered: bool) -> None:
        """Start a thread for the job."""
        runner = Runner(tools, self._heartbeat, slot, record, self._stop, is_recovered=is_recovered)

        def work() -> None:
            try:
                runner.run()
            except Exception:  # noqa: BLE001  logged with the job; the others go on
                JobLog(log, record.job_id).exception("Its thread ended; the next start goes on with it.")
            finally:  # not by is_alive: the thread that rings is still alive
                self._ended.put(threading.current_thread())
                self.ring()

        thread = threading.Thread(target=work, name=f"job-{record.job_id}", daemon=True)
        self._members = {**self._members, thread: Member(record.job_id, slot, runner.track, runner.release)}
        self.begun += 1
        thread.start()

    def reap(self) -> bool:
        """Let go of the threads that have ended; whether there were any."""
        had_ended = False
        while not self._ended.empty():
            thread = self._ended.get()
            thread.join()
            self._members = {one: member for one, member in self._members.items() if one is not thread}
            had_ended = True
        return had_ended

    def free_of(self, slots: Sequence[Slot]) -> list[Slot]:
        """The slots on which nobody works."""
        busy = {member.slot.id for member in self._members.values()}
        return [slot for slot in slots if slot.id not in busy]

    def works_on(self, job_id: int) -> bool:
        """Whether one of the threads has this job."""
        return any(member.job_id == job_id for member in self._members.values())

    def job_ids(self) -> tuple[int, ...]:
        """The jobs under way."""
        return tuple(member.job_id for member in self._members.values())

    def release(self, job_id: int, reason: str) -> bool:
        """Have the job given back to the queue; False if it is too late for that."""
        return any(member.release(reason) for member in self._members.values() if member.job_id == job_id)

    def signs(self) -> list[SignOfLife]:
        """When each thread was last heard of."""
        return [member.track.sign() for member in self._members.values()]

    def statuses(self) -> tuple[JobStatus, ...]:
        """How far each job is."""
        return tuple(member.track.status() for member in self._members.values())

    def detach(self, deadline: float) -> None:
        """Wait for the threads to return; who hangs on the network is left: each record is saved."""
        for thread, member in self._members.items():
            thread.join(max(0.0, deadline - monotonic()))
            if thread.is_alive():
                JobLog(log, member.job_id).warning("Leaving it in the middle of a request.")
