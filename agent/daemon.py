"""The main thread: reap jobs that ended, claim a job if a slot is free and every gate is open, sleep.

It sleeps in `select` on a pipe. Signals (by `signal.set_wakeup_fd`) and ended job threads write to it.
"""

import logging
import os
import random
import select
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic, time
from typing import Any, Self

from agent.core.errors import AgentError, EngineTrouble, HostTrouble
from agent.core.gates import Facts, closed_gates
from agent.core.joblog import JobLog
from agent.core.models import Job, Outcome, Phase, Record, RefusedJob, Slot, Verdict
from agent.core.retry import Backoff, delay_after
from agent.core.slots import offer_of
from agent.core.stopping import Stop
from agent.heartbeat import Heartbeat
from agent.phases import Tools
from agent.recover import load_resumed, reap_orphans
from agent.runner import Runner
from agent.steps import fetch_jobs

log = logging.getLogger(__name__)

LOOK_BACKOFF = Backoff(base_s=2.0, cap_s=120.0)
DETACH_S = 5.0
"""So long does a stop wait for job threads: being killed anywhere is harmless, being slow to stop is not."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Options:
    """How the agent looks for jobs. `look_s`: seconds between looks; the flags end it early."""

    look_s: float
    groups: tuple[str, ...] = ()
    once: bool = False
    until_idle: bool = False


class WakeUp:
    """The pipe that ends the main thread's sleep; use it as a context manager in the main thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:  # the pipe carries the number, a handler need do nothing
            self._before[number] = signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def ring(self) -> None:
        """End the sleep; from any thread."""
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:
            return  # the pipe is full: it is awake anyway

    def sleep(self, timeout_s: float | None) -> frozenset[int]:
        """Sleep until rung, signalled or the time is over (None: never); the signals that came."""
        ready, _, _ = select.select([self._read], [], [], timeout_s)
        return frozenset(os.read(self._read, 4096)) if ready else frozenset()


class Daemon:
    """The agent's life: resume what is in the journal, then tick until asked to stop.

    `stop` is set by the first SIGTERM or SIGINT; every runner then returns at its next border with its
    record saved, and containers run on.
    """

    def __init__(
        self, tools: Tools, heartbeat: Heartbeat, slots: Sequence[Slot], options: Options, stop: Stop
    ) -> None:
        self._tools = tools
        self._heartbeat = heartbeat
        self._slots = slots
        self._options = options
        self._stop = stop
        self._running: dict[threading.Thread, tuple[int, Slot]] = {}
        self._ended: SimpleQueue[threading.Thread] = SimpleQueue()
        self._look_at = 0.0
        self._failed_looks = 0
        self._jobs_begun = 0
        self._leftovers_unknown = True
        self._is_queue_empty = False
        self._gates: tuple[str, ...] = ()
        self.ring: Callable[[], None] = lambda: None

    def run(self, wake: WakeUp) -> None:
        """Live. Returns when asked to stop, or when `once` or `until_idle` is fulfilled."""
        self.ring = wake.ring
        self._heartbeat.start()
        try:
            self.resume()
            while (next_at := self.tick(monotonic())) is not None:
                wait_s = None if next_at == float("inf") else max(0.0, next_at - monotonic())
                if wake.sleep(wait_s) & set(_STOP_SIGNALS):
                    log.info("Asked to stop: running containers go on, the next start adopts them.")
                    break
        finally:
            self._stop.set()
            self._detach(monotonic() + DETACH_S)
            self._heartbeat.stop()

    def _detach(self, deadline: float) -> None:
        """Wait for the job threads to return; who hangs on the network is left: each record is saved."""
        for thread, (job_id, _) in list(self._running.items()):
            thread.join(max(0.0, deadline - monotonic()))
            if thread.is_alive():
                JobLog(log, job_id).warning("Leaving it in the middle of a request.")

    def resume(self) -> None:
        """Go on with the jobs of the journal."""
        for record, slot in load_resumed(self._tools.journal, self._slots):
            self._begin(record, slot, is_recovered=True)

    def tick(self, now: float) -> float | None:
        """One look around; when the next one is due (monotonic seconds), None: there is nothing left."""
        self._reap()
        if self._is_over():
            return None
        free = self._free_slots()
        if not free:
            return float("inf")
        if now >= self._look_at:
            self._look(free[0], now)
            if self._is_over():
                return None
        return self._look_at if self._free_slots() else float("inf")

    def _is_over(self) -> bool:
        if self._running:
            return False
        if self._options.once:
            return self._jobs_begun > 0
        return self._options.until_idle and self._is_queue_empty

    def _free_slots(self) -> list[Slot]:
        busy = {slot.id for _, slot in self._running.values()}
        return [slot for slot in self._slots if slot.id not in busy]

    def _reap(self) -> None:
        while not self._ended.empty():
            thread = self._ended.get()
            thread.join()
            del self._running[thread]
            self._look_at = 0.0

    def _look(self, slot: Slot, now: float) -> None:
        """Ask for a job if every gate is open, and set when to look again."""
        self._is_queue_empty = False
        gates = closed_gates(self._facts())
        if gates != self._gates:
            log.log(logging.WARNING if gates else logging.INFO, "%s", _gates_text(gates))
            self._gates = gates
        try:
            claimed = [] if gates else fetch_jobs(self._tools.api, offer_of(slot, self._options.groups))
        except HostTrouble as trouble:
            delay_s = delay_after(trouble, self._failed_looks, LOOK_BACKOFF, random.random())
            self._failed_looks += 1
            self._look_at = now + max(self._options.look_s, delay_s)
            log.warning("Looking for a job failed: %s", trouble)
            return
        self._failed_looks = 0
        self._is_queue_empty = not claimed and not gates
        self._look_at = now if claimed else now + self._options.look_s * random.uniform(0.9, 1.1)
        for job in claimed:
            self._accept(job, slot)

    def _facts(self) -> Facts:
        trouble = ""
        try:
            if self._leftovers_unknown:
                reap_orphans(self._tools.engine, self._tools.journal)
                self._leftovers_unknown = False
            else:
                self._tools.engine.ping()
        except EngineTrouble as error:
            trouble = str(error)
        except AgentError as error:
            log.warning("Looking through containers from before failed: %s", error)
        return Facts(self._leftovers_unknown, trouble, self._options.once and self._jobs_begun > 0)

    def _accept(self, job: Job | RefusedJob, slot: Slot) -> None:
        if job.id is None:
            log.error("The API gave out a job that cannot be reported: %s.", _reason_of(job))
            return
        if any(job.id == running for running, _ in self._running.values()):
            log.warning("Job %d was given to us again while we work on it; going on.", job.id)
            return
        record = record_of(job, slot, time())
        JobLog(log, job.id).info("Claimed for slot %d%s.", slot.id, _image_of(job))
        self._begin(record, slot, is_recovered=False)

    def _begin(self, record: Record, slot: Slot, *, is_recovered: bool) -> None:
        self._jobs_begun += 1
        runner = Runner(self._tools, self._heartbeat, slot, record, self._stop, is_recovered=is_recovered)

        def work() -> None:
            try:
                runner.run()
            finally:  # not by is_alive: the thread that rings is still alive
                self._ended.put(threading.current_thread())
                self.ring()

        thread = threading.Thread(target=work, name=f"job-{record.job_id}", daemon=True)
        self._running[thread] = (record.job_id, slot)
        thread.start()


def record_of(job: Job | RefusedJob, slot: Slot, now: float) -> Record:
    """The first record of a claimed job; one whose spec was refused has only its report before it."""
    if isinstance(job, Job):
        return Record(job.id, Phase.STAGING_IN, job.spec, slot.id, now)
    if job.id is None:
        raise ValueError("a job without an id cannot be recorded")
    outcome = Outcome(Verdict.ERROR, job.reason)
    return Record(job.id, Phase.REPORTING, None, slot.id, now, outcome=outcome)


def _reason_of(job: Job | RefusedJob) -> str:
    return job.reason if isinstance(job, RefusedJob) else ""


def _image_of(job: Job | RefusedJob) -> str:
    return f", image {job.spec.handler.image_url}" if isinstance(job, Job) else ""


def _gates_text(gates: tuple[str, ...]) -> str:
    return f"Taking no job: {'; '.join(gates)}." if gates else "Taking jobs again."
