"""Takes one job's record from its phase to DONE: act, save, act again.

A fresh job and one from the journal differ only in the phase they begin in. Every action is safe to repeat.
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import monotonic

from agent.core.errors import HostTrouble, JobFailed, JobGone, Stopped
from agent.core.joblog import JobLog
from agent.core.lifecycle import after_failure, after_gone, after_return, after_surprise, word_of
from agent.core.models import JobSpec, Phase, Record, Slot
from agent.core.reconcile import is_patience_spent, kept_since
from agent.core.retry import delay_after
from agent.core.stopping import Stop
from agent.heartbeat import Heartbeat
from agent.phases import Work
from agent.toolbox import Tools
from agent.track import Track

log = logging.getLogger(__name__)

UNEXPECTED_MAX = 3
"""So often may one phase fail in a way nobody thought of before the job is reported as failed."""


class Runner:
    """One job on one slot; `run` is the body of its thread. `is_over`: nothing of the job is left here."""

    def __init__(
        self,
        tools: Tools,
        heartbeat: Heartbeat,
        slot: Slot,
        record: Record,
        agent_stop: Stop,
        *,
        is_recovered: bool,
    ) -> None:
        self.record = record
        self.is_over = False
        self._journal = tools.journal
        self._attempted = partial(tools.attempted, slot)
        self._backoff = tools.policy.backoff
        self._patience_s = tools.policy.host_patience_s
        self._heartbeat = heartbeat
        self._agent_stop = agent_stop
        self._stop = Stop()
        self.track = Track(record, slot, tools.progress, tools.policy.allowed_silence_s)
        self._is_recovered = is_recovered
        self._may_be_sent = is_recovered
        self._wanted_back = ""
        self._turning = threading.Lock()
        self._log = JobLog(log, record.job_id)
        # A fresh job speaks once it is in the journal: what was never written down was never ours to lose.
        word = word_of(record.phase) if is_recovered else None
        self._pulse = heartbeat.add(record.job_id, word, asks_first=is_recovered)
        tools = replace(tools, progress=self.track)
        self._work = Work(tools, slot, self._pulse, self._stop, self._save, self.track)

    def run(self) -> None:
        """Work until the job is done, or return early, the record saved, when the agent stops."""
        with self._agent_stop.attach(self._stop.set), self._pulse.gone.attach(self._stop.set):
            try:
                self._persist(self._confirm if self._is_recovered else lambda: self._save(self.record))
                while self.record.phase is not Phase.DONE:
                    self._persist(self._act)
                self._persist(lambda: self._work.clean_up(self.record))
                self.is_over = True
            except Stopped:
                self._log.info("Leaving it in phase %s for the next start.", self.record.phase)
            finally:
                self._heartbeat.remove(self._pulse)

    def release(self, reason: str) -> bool:
        """Give the job back to the queue; False if it is too late, for its container has ended."""
        with self._turning:  # the phase does not change in between: what was promised is kept
            if self.record.phase not in {Phase.STAGING_IN, Phase.RUNNING}:
                return False
            self._wanted_back = reason
        self._stop.set()
        return True

    def _persist(self, act: Callable[[], None], *, may_give_up: bool = True) -> None:
        """Do it, again and again while the host is in trouble. Raises `Stopped` when the agent stops."""
        troubles = surprises = 0
        since: float | None = None
        while True:
            knew = self._is_over()
            try:
                self.track.note()
                self._guard(act)
                self.track.clear()
            except Stopped:
                raise
            except HostTrouble as trouble:
                since = kept_since(self.record, trouble, since, monotonic())
                if may_give_up and is_patience_spent(since, monotonic(), self._patience_s):
                    return self._give_back(after_return, f"this machine cannot run it: {trouble}")
                delay_s = delay_after(trouble, troubles, self._backoff, random.random())
                troubles += 1
                self.track.hinder(str(trouble))
                self._log.warning("%s; trying again in %.0f s.", trouble, delay_s)
            except Exception as error:  # noqa: BLE001  logged with its traceback; it must not end the job
                self._log.exception("The agent failed in phase %s.", self.record.phase)
                delay_s = self._backoff.base_s
                surprises += 1
                self.track.hinder(f"the agent failed: {type(error).__name__}")
                if surprises >= UNEXPECTED_MAX:
                    return self._give_up(error, may_give_up=may_give_up)
            else:
                return None
            if self._wait(delay_s, knew=knew):
                raise Stopped("asked to stop")

    def _guard(self, act: Callable[[], None]) -> None:
        """Do it once; the job's own end is an ordinary next phase."""
        try:
            act()
        except JobFailed as failed:
            self._log.warning("Failed: %s.", failed.reason)
            self._save(after_failure(self.record, failed.reason))
        except JobGone:
            self._let_go()
        except Stopped:
            if self._pulse.gone.is_set():
                self._let_go()
            elif self._wanted_back:
                self._save(after_return(self.record, self._wanted_back))
            else:
                raise

    def _let_go(self) -> None:
        self._log.info("It is not ours any more (deleted or given away); cleaning up.")
        self._save(after_gone(self.record))

    def _give_up(self, error: Exception, *, may_give_up: bool) -> None:
        if not may_give_up or self.record.phase in {Phase.REPORTING, Phase.DONE}:
            raise Stopped("the next start may do better") from error
        self._give_back(after_surprise, f"the agent failed: {type(error).__name__}")

    def _give_back(self, after: Callable[[Record, str], Record], reason: str) -> None:
        """This machine, or the agent on it, cannot do the job."""
        self._log.warning("Not the job's fault: %s.", reason)
        self._persist(lambda: self._save(after(self.record, reason)), may_give_up=False)
        self._attempted(reason)

    def _is_over(self) -> bool:
        """Whether the job is gone, or wanted back."""
        return self._pulse.gone.is_set() or bool(self._wanted_back)

    def _wait(self, delay_s: float, *, knew: bool) -> bool:
        """Sleep; True if the agent stops. News that the job is over ends the sleep of who did not know."""
        (self._agent_stop if knew else self._stop).wait(delay_s)
        return self._agent_stop.is_set()

    def _save(self, record: Record) -> None:
        with self._turning:
            self._journal.save(record)
            before, self.record = self.record, record
        if record.phase is not before.phase:
            self._log.debug("Phase %s follows %s.", record.phase, before.phase)
        self.track.follow(record)
        self._heartbeat.say(self._pulse, word_of(record.phase))

    def _confirm(self) -> None:
        """Ask for ownership before work goes on after a restart."""
        if word_of(self.record.phase) is not None:
            self._pulse.wait_confirmed(self._stop, self.track.note)

    def _act(self) -> None:
        record = self.record
        match record.phase:
            case Phase.STAGING_IN:
                after = self._work.stage_in(record, self._checked_spec())
            case Phase.RUNNING:
                after = self._work.run_container(record, self._checked_spec())
            case Phase.STAGING_OUT:
                after = self._work.stage_out(record, self._checked_spec())
            case Phase.REPORTING:
                may_be_sent, self._may_be_sent = self._may_be_sent, True
                after = self._work.report(record, may_be_sent=may_be_sent)
            case Phase.DONE:
                return
        self._save(after)
        if (blame := self._work.take_blame()) is not None:
            self._attempted(blame)

    def _checked_spec(self) -> JobSpec:
        """The spec, if work may go on. Raises `Stopped`."""
        self._stop.check()
        if self.record.spec is None:
            raise JobFailed("the job has no spec")
        return self.record.spec
