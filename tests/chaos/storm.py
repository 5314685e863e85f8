"""One storm: jobs come in, blows fall, everything is healed, the agent gets idle, the books are balanced."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from agent.core.status import Mode
from mock_api.job import TERMINAL, Job
from mock_api.specs import JobState, UploadType
from tests.chaos.blows import JOB_TIMEOUT_S, OTHER, Fists, claim_for_other, finish_for_other
from tests.chaos.books import (
    WORKER,
    Account,
    JobBook,
    StormBook,
    account_of,
    check_job,
    check_leftovers,
    check_lives,
)
from tests.chaos.facts import Fallen
from tests.chaos.jobs import FILES_UP, ChaosJob, hash_of, make_job
from tests.chaos.plan import JobPlan, Storm
from tests.chaos.workstation import Holdings, Workstation, first_process_of
from tests.engine_host import IMAGES

SETTLE_S = 240.0
"""So long may the agent take for what a storm has left it."""

DESCRIPTORS_SPARE = 64
"""Connections kept for the next request, and those whose answers wait for the garbage collector.

Whether they grow with the jobs is measured by `tests.bench.leaks`.
"""

_IDLE_LOOKS = 4
_LOOK_S = 0.25
_EMPTIES_S = 15.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a storm. `accounts`: one for each job; `took_s` with healing and books."""

    storm: Storm
    accounts: tuple[Account, ...]
    fallen: tuple[Fallen, ...]
    violations: tuple[str, ...]
    took_s: float


class StormRun:
    """One storm on one workstation; `idle` is what the agent held when it first had nothing to do."""

    def __init__(self, station: Workstation, storm: Storm, idle: Holdings | None) -> None:
        self._station = station
        self._mock = station.mock
        self._storm = storm
        self._idle = idle
        self._jobs: dict[str, ChaosJob] = {}
        self._ids: dict[str, str] = {}
        self._fists = Fists(station, self._ids)
        self._began_at = time.time()
        self._first_life = max(0, len(station.lives) - 1)

    def run(self) -> Result:
        """Blow, heal, settle, balance."""
        self._mock.state.log.clear()
        log_begins_at = len(self._station.agent.log)
        self._blow()
        self._fists.heal()
        violations = self._settle()
        self._flush()
        violations += self._balance(self._station.agent.log[log_begins_at:])
        storm_book = self._storm_book()
        accounts = [account_of(book, storm_book) for book in self._books()]
        self._station.lab.jump(0.0)
        took_s = time.time() - self._began_at
        return Result(self._storm, tuple(accounts), tuple(self._fists.fallen), tuple(violations), took_s)

    def _blow(self) -> None:
        """Everything at its time, or as soon as what takes long before it is over."""
        fists, blows = self._fists, self._storm.blows
        events: list[tuple[float, int, Callable[[], None]]] = [
            *((job.at_s, 0, partial(self._submit, job)) for job in self._storm.jobs),
            *((blow.at_s, 1, partial(fists.fall, blow)) for blow in blows),
            *((blow.at_s + blow.for_s, 2, partial(fists.lift, blow)) for blow in blows),
        ]
        began = time.monotonic()
        for at_s, _, act in sorted(events, key=lambda event: event[:2]):
            time.sleep(max(0.0, at_s - (time.monotonic() - began)))
            self._station.note_end()
            act()

    def _submit(self, plan: JobPlan) -> None:
        name, job = plan.name, make_job(plan)
        self._jobs[name] = job
        self._ids[name] = self._mock.submit(
            image=IMAGES.busybox,
            cmd=[job.command],
            env={"CHAOS_JOB": name},
            files=job.files,
            files_up=FILES_UP,
            name=name,
        )

    # Until there is nothing left to do

    def _settle(self) -> list[str]:
        """Wait until the agent has nothing to do; a sentence if it never comes to that."""
        deadline = time.monotonic() + SETTLE_S
        is_taking, looks = False, 0
        while looks < _IDLE_LOOKS:
            self._station.start()  # one that ended by itself is on record
            is_taking = is_taking or self._station.steer(Mode.TAKING)
            looks = looks + 1 if is_taking and self._is_idle() else 0
            if time.monotonic() > deadline:
                return [f"the agent was not idle after {SETTLE_S:.0f} s: {self._doing()}"]
            time.sleep(_LOOK_S)
        return []

    def _is_idle(self) -> bool:
        status = self._station.status()
        return status is not None and not status.jobs and not any(map(self._is_waiting, self._all_jobs()))

    def _is_waiting(self, job: Job) -> bool:
        return job.in_queue and job.status is JobState.queued and WORKER not in job.accounts

    def _all_jobs(self) -> list[Job]:
        return [self._mock.job(job_id) for job_id in self._ids.values()]

    def _doing(self) -> str:
        status = self._station.status()
        if status is None:
            return "it does not answer"
        waiting = [job.id for job in self._all_jobs() if self._is_waiting(job)]
        return f"jobs {status.jobs}, gates {status.gates}, in the queue {waiting}"

    def _flush(self) -> None:
        """The API's patience ends: what nobody works on goes to another worker, who finishes it."""
        finish_for_other(self._mock, [job.id for job in self._all_jobs() if job.owner == OTHER])
        if any(job.status not in TERMINAL and not job.deleted for job in self._all_jobs()):
            self._mock.advance(JOB_TIMEOUT_S + 1)
            finish_for_other(self._mock, claim_for_other(self._mock, limit=1000))

    # The books

    def _balance(self, log: str) -> list[str]:
        storm = self._storm_book()
        violations = [sentence for book in self._books() for sentence in check_job(book, storm)]
        violations += check_lives(storm.lives)
        violations += self._check_what_is_left()
        if "Traceback (most recent call last)" in log:
            at = log.index("Traceback (most recent call last)")
            violations.append(f"the agent's log holds a traceback: {log[at : at + 3000]}")
        return violations

    def _check_what_is_left(self) -> list[str]:
        """What a clean-up under way removes may take a moment."""
        deadline = time.monotonic() + _EMPTIES_S
        while (found := check_leftovers(self._leftovers())) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        return found

    def _leftovers(self) -> dict[str, list[str]]:
        station = self._station
        left = {
            "containers": station.containers(),
            "job folders": station.agent.leftovers,
            "rows": station.rows(),
            "journals moved aside": station.left_aside(),
            "processes": station.children(),
            "processes of containers": [
                run.container
                for name in self._jobs
                for run in station.lab.ledger.runs_of(name)
                if run.ended_at is None and first_process_of(run.container) is not None
            ],
        }
        if self._idle is not None:
            held, idle = station.holdings(), self._idle
            if held.threads > idle.threads:
                left["threads"] = [f"{held.threads} in place of {idle.threads}"]
            if held.descriptors > idle.descriptors + DESCRIPTORS_SPARE:
                left["descriptors"] = [f"{held.descriptors} in place of {idle.descriptors}"]
        return left

    def _storm_book(self) -> StormBook:
        return StormBook(
            tuple(self._fists.fallen),
            tuple(self._station.lives[self._first_life :]),
            tuple(self._mock.requests("GET", "^/jobs$")),
            frozenset(self._fists.taken_away),
        )

    def _books(self) -> list[JobBook]:
        return [self._book_of(name, job) for name, job in self._jobs.items()]

    def _book_of(self, name: str, job: ChaosJob) -> JobBook:
        seen = self._mock.job(self._ids[name])
        claims = [one for one in seen.history if one.account == WORKER and one.status is JobState.pulled]
        return JobBook(
            job_id=seen.id,
            name=f"{name}, {job.plan.kind}",
            expected=job.expected,
            history=seen.history,
            details=seen.runtime_details,
            runs=self._station.lab.ledger.runs_of(name),
            requests=tuple(self._mock.requests(path=f"/jobs/{seen.id}/")),
            outputs=self._outputs_of(seen.id),
            mails=len(self._mock.mails(seen.id)),
            deleted=seen.deleted,
            claimed_at=self._real_time(claims[0].at) if claims else None,
        )

    def _outputs_of(self, job_id: str) -> dict[str, str]:
        paths = [one.path for one in self._mock.outputs(job_id) if one.kind is UploadType.output]
        return {path: hash_of(self._mock.output(job_id, path)) for path in paths}

    def _real_time(self, at: float) -> float:
        """The stand-in's clock is ahead by whole patiences."""
        return self._began_at + (at - self._began_at) % (JOB_TIMEOUT_S + 1)
