"""What is done in each phase of a job. Every action is safe to repeat, whatever was killed in between."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import time

from agent.attempt import Attempt, end_of
from agent.core.container import folders_to_make, plan_container
from agent.core.engine_models import ContainerPlan
from agent.core.errors import EngineTrouble, HostTrouble, JobGone
from agent.core.joblog import JobLog
from agent.core.lifecycle import details_of, with_outcome
from agent.core.models import Job, JobSpec, Outcome, Phase, Record, Slot, Verdict
from agent.core.paths import plan_roots
from agent.core.reconcile import may_return_before_removal
from agent.core.retry import is_inputs_own_fault
from agent.core.stopping import Stop
from agent.heartbeat import Pulse
from agent.parallel import Parallel
from agent.steps import Means, report, stage_inputs, stage_outputs
from agent.toolbox import Tools
from agent.track import Track

log = logging.getLogger(__name__)

_KEPT_LOG_BYTES = 64 * 1024


class Work:
    """The actions on one job; each takes its record and returns the one that follows.

    `save` keeps what must be known before an action has ended. `stop` is the job's own: set when the agent
    stops and when the job is gone.
    """

    def __init__(
        self,
        tools: Tools,
        slot: Slot,
        pulse: Pulse,
        stop: Stop,
        save: Callable[[Record], None],
        track: Track,
    ) -> None:
        self._tools = tools
        self._slot = slot
        self._pulse = pulse
        self._stop = stop
        self._track = track
        self._folder = tools.folder_of(pulse.job_id)
        self._log = JobLog(log, pulse.job_id)
        self._attempt = Attempt(tools, self._folder, stop, save, track, self._log)

    def stage_in(self, record: Record, spec: JobSpec) -> Record:
        """Download the inputs, make the output folders, have the image here."""
        plan = self._plan(spec)  # refuses what could not run before a byte is moved
        roots = plan_roots(spec.handler.files_up)
        self._attempt.clear(record)
        with self._means(is_inputs_own_fault) as means:
            stage_inputs(Job(record.job_id, spec), self._folder, means)
        for path in folders_to_make(
            {str(kind): path for kind, path in roots.items()}, spec.app.cmd, spec.app.env
        ):
            self._folder.make(path)
        tools = self._tools
        tools.engine.ensure_image(plan.image, tools.policy.pull, stop=self._stop, progress=tools.progress)
        return replace(record, phase=Phase.RUNNING)

    def run_container(self, record: Record, spec: JobSpec) -> Record:
        """Start the container or adopt it, wait for its end, read its verdict."""
        return self._attempt.run(record, self._plan(spec))

    def take_blame(self) -> str | None:
        """Why the machine failed the attempt that has just ended, empty where it did not; once each."""
        return self._attempt.take_blame()

    def stage_out(self, record: Record, spec: JobSpec) -> Record:
        """Upload what the job left, going on after the files that have arrived already."""
        journal, job_id = self._tools.journal, record.job_id
        try:
            self._attempt.clear(record)
        except EngineTrouble as trouble:  # what there is is delivered, whether Docker answers or not
            self._log.debug("Nobody knows whether its container writes any more: %s", trouble)
        inhibit = self._tools.inhibit(f"uploading the outputs of job {job_id}")
        with inhibit, self._means(lambda _: False) as means:
            staged = stage_outputs(
                Job(job_id, spec),
                self._folder,
                means,
                uploaded=journal.uploaded(job_id),
                mark=lambda key: journal.mark_uploaded(job_id, key),
            )
        self._log.info("Uploaded %d %s.", staged.uploaded, "file" if staged.uploaded == 1 else "files")
        for sentence in staged.skipped:
            self._log.warning("Not uploaded: %s.", sentence)
        record = replace(record, notes=(*record.notes, *staged.skipped))
        for reason in staged.failed:
            record = with_outcome(record, Outcome(Verdict.ERROR, reason))
        return replace(record, phase=Phase.REPORTING)

    def report(self, record: Record, *, may_be_sent: bool) -> Record:
        """Fall silent, then say the verdict, once and last."""
        self._pulse.end()
        if self._pulse.gone.is_set():
            raise JobGone("its last keep-alive was answered with 404")
        outcome = record.outcome or Outcome(Verdict.ERROR, "the agent lost the outcome")
        if outcome.verdict is Verdict.RETURNED:
            self._remove_before_others_begin(record)
        details = details_of(record)
        report(self._tools.api, record.job_id, outcome.verdict, details, may_be_sent=may_be_sent)
        level = logging.INFO if outcome.verdict is Verdict.FINISHED else logging.WARNING
        reason = f": {outcome.reason}" if outcome.reason else ""
        self._log.log(level, "Reported as %s%s.", outcome.verdict, reason)
        return replace(record, phase=Phase.DONE)

    def clean_up(self, record: Record) -> None:
        """Remove the container, if it is this agent's, the folder, then the record, last."""
        self._pulse.end()
        self._attempt.clear(record)
        outcome = record.outcome or Outcome(Verdict.GONE)
        log_end = end_of(self._folder.log, _KEPT_LOG_BYTES) or outcome.log_tail
        self._folder.remove()
        self._tools.journal.close_job(record, time(), log_end)

    def _remove_before_others_begin(self, record: Record) -> None:
        try:
            self._attempt.clear(record)
        except EngineTrouble as trouble:
            if not may_return_before_removal(record, trouble):
                raise
            self._log.warning("Its container is removed later: %s.", trouble)
        else:
            self._track.freed()

    @contextmanager
    def _means(self, is_final: Callable[[HostTrouble], bool]) -> Iterator[Means]:
        tools, policy = self._tools, self._tools.policy
        with self._stop.child() as stop:
            each = Parallel(
                policy.transfers,
                policy.transfer_budget_s,
                policy.transfer_backoff,
                stop,
                is_final,
                on_server_error=self._pulse.ask,
                on_trouble=lambda trouble: self._track.hinder(str(trouble)),
            )
            yield Means(tools.api, tools.transfer, tools.progress, stop, each)

    def _plan(self, spec: JobSpec) -> ContainerPlan:
        policy = self._tools.policy
        return plan_container(
            Job(self._pulse.job_id, spec),
            self._slot,
            policy.limits,
            agent_id=self._tools.journal.agent_id,
            version=policy.version,
            folder=self._folder.mount,
            allowed_images=policy.allowed_images,
        )
