"""The queue: a dequeue that workers ask, with the API's lack of guards."""

import threading
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from mock_api.accounts import Account
from mock_api.job import TERMINAL, Job, Mail, Offer, StatusChange
from mock_api.settings import Settings
from mock_api.specs import Environment, JobSpecs, JobState, Submission

_CLAIMED = {JobState.pulled, JobState.preprocessing, JobState.running, JobState.postprocessing}


class MalformedRow(Exception):
    """A row at the queue's head is no job: 500 to everyone whom it matches."""


class NotYours(Exception):
    """Deleted by its user just now, or another worker's: 404."""


class NoSuchRow(Exception):
    """The queue has no such row (any more): 500."""


@dataclass(slots=True)
class _Row:
    """What the queue and the user's database know of a job."""

    id: str
    spec: dict[str, Any]
    paths_upload: dict[str, str]
    order: int
    priority: int
    environment: Environment | None
    group: str | None
    unchecked: bool
    created: float
    heard: float
    status: JobState = JobState.queued
    owner: str | None = None
    accounts: list[str] = field(default_factory=list)
    runtime_details: str = ""
    history: list[StatusChange] = field(default_factory=list)
    retries: int = 0
    deleted: bool = False
    in_queue: bool = True

    def set(self, status: JobState, at: float, account: str | None, details: str | None = None) -> None:
        self.status, self.heard = status, at
        self.history.append(StatusChange(at, status, account, details))
        if details:
            self.runtime_details += ("\n" if self.runtime_details else "") + details

    def suits(self, offer: Offer, account: Account, now: float, *, retry_different: bool) -> bool:
        if not self.in_queue or self.status is not JobState.queued:
            return False
        if retry_different and account.username in self.accounts:
            return False
        if self.group is not None and self.group not in offer.groups:
            return False
        if self.environment is None:
            here = now - self.created >= offer.older_than_s
        else:
            here = (self.environment is Environment.cloud) == account.is_cloud
        return here and _fits(self.spec.get("hardware"), offer)

    def serve(self) -> dict[str, Any]:
        """The row as ``GET /jobs`` answers it; raises `MalformedRow`."""
        if self.unchecked:
            return self.spec
        try:
            return JobSpecs.model_validate(self.spec).model_dump(mode="json")
        except ValidationError as error:
            raise MalformedRow(str(error)) from error


def _fits(hardware: object, offer: Offer) -> bool:
    needs = hardware if isinstance(hardware, dict) else {}
    for name, available in (
        ("memory", offer.memory),
        ("cpu_cores", offer.cpu_cores),
        ("gpu_mem", offer.gpu_mem),
    ):
        need = needs.get(name)
        if isinstance(need, int) and need > available:
            return False
    model, archi = needs.get("gpu_model"), needs.get("gpu_archi")
    return model in {None, offer.gpu_model} and archi in {None, offer.gpu_archi}


class JobQueue:
    """All jobs. Safe to use from several threads; time-outs happen whenever somebody looks."""

    def __init__(self, settings: Settings, lock: threading.RLock) -> None:
        self._settings = settings
        self._lock = lock
        self._rows: dict[str, _Row] = {}
        self._mails: list[Mail] = []
        self._last_id = 0

    def reserve_id(self) -> int:
        """The number of the next job."""
        with self._lock:
            self._last_id += 1
            return self._last_id

    def add(
        self, job_id: str, submission: Submission, spec: dict[str, Any], paths_upload: dict[str, str]
    ) -> None:
        """Puts a job at the end of its priority."""
        with self._lock:
            now = self._settings.now()
            row = _Row(
                id=job_id,
                spec=spec,
                paths_upload=paths_upload,
                order=len(self._rows),
                priority=submission.priority,
                environment=submission.environment,
                group=submission.group,
                unchecked=submission.unchecked,
                created=now,
                heard=now,
            )
            row.set(JobState.queued, now, None)
            self._rows[job_id] = row

    def claim(self, account: Account, offer: Offer) -> dict[str, dict[str, Any]]:
        """The next jobs for the worker, now its own; raises `MalformedRow` and claims nothing."""
        with self._lock:
            self._time_out()
            now, different = self._settings.now(), self._settings.retry_different
            suiting = [
                row
                for row in self._rows.values()
                if row.suits(offer, account, now, retry_different=different)
            ]
            suiting.sort(key=lambda row: (-row.priority, row.order))
            answer = [(row, row.serve()) for row in suiting[: max(offer.limit, 0)]]
            for row, _ in answer:
                row.owner = account.username
                row.accounts.append(account.username)
                row.set(JobState.pulled, now, account.username)
            return {row.id: spec for row, spec in answer}

    def put_status(self, job_id: str, account: Account, status: JobState, details: str | None) -> None:
        """What a worker says of its job, whatever it said before; raises `NotYours` and `NoSuchRow`."""
        with self._lock:
            self._time_out()
            row = self._rows.get(job_id)
            if row is None or not row.in_queue:
                raise NoSuchRow(job_id)
            if row.owner != account.username:
                raise NotYours(job_id)
            self._tell_user(row, status, account.username, details)
            if row.deleted:
                raise NotYours(job_id)

    def status_of(self, job_id: str) -> JobState | None:
        """What the queue's row says, None without one."""
        with self._lock:
            self._time_out()
            row = self._rows.get(job_id)
            return row.status if row and row.in_queue else None

    def paths_for(self, job_id: str, account: Account) -> dict[str, str]:
        """Where uploads of a job go; raises `NoSuchRow` unless it is that worker's."""
        with self._lock:
            row = self._rows.get(job_id)
            if row is None or not row.in_queue or row.owner != account.username:
                raise NoSuchRow(job_id)
            return dict(row.paths_upload)

    def cancel(self, job_id: str) -> bool:
        """Its user deletes a job; the queue learns of it with the next PUT. False for an unknown one."""
        with self._lock:
            row = self._rows.get(job_id)
            if row is not None:
                row.deleted = True
            return row is not None

    def get(self, job_id: str) -> Job | None:
        """A copy of one job."""
        with self._lock:
            self._time_out()
            row = self._rows.get(job_id)
            return _copy(row) if row else None

    def jobs(self) -> list[Job]:
        """Copies of all jobs, oldest first."""
        with self._lock:
            self._time_out()
            return [_copy(row) for row in self._rows.values()]

    def mails(self) -> list[Mail]:
        """The e-mails sent so far."""
        with self._lock:
            self._time_out()
            return list(self._mails)

    def _tell_user(
        self, row: _Row, status: JobState, account: str | None, details: str | None = None
    ) -> None:
        """Reports to the user's side; a job that its user deleted loses its row then."""
        if row.deleted:
            row.in_queue = False
            return
        now = self._settings.now()
        row.set(status, now, account, details)
        if status in TERMINAL:
            self._mails.append(Mail(now, row.id, status))

    def _time_out(self) -> None:
        """Silent jobs go back to the queue; the owner stays, so a worker that comes back late may go on."""
        now = self._settings.now()
        for row in self._rows.values():
            if not row.in_queue or row.status not in _CLAIMED:
                continue
            if now - row.heard < self._settings.job_timeout_s:
                continue
            if row.retries < self._settings.max_retries:
                row.retries += 1
                self._tell_user(row, JobState.queued, None)
            else:
                self._tell_user(row, JobState.error, None, "max retries reached")


def _copy(row: _Row) -> Job:
    return Job(
        id=row.id,
        status=row.status,
        owner=row.owner,
        accounts=tuple(row.accounts),
        runtime_details=row.runtime_details,
        history=tuple(row.history),
        retries=row.retries,
        deleted=row.deleted,
        in_queue=row.in_queue,
        spec=row.spec,
        paths_upload=dict(row.paths_upload),
    )
