"""The steps of a job, one by one: for the agent's runner and for cloud workers' functions alike.

They take everything as arguments and hold no state: no globals, environment, threads, retries or journal.
Importing this module needs the base install only (requests, pydantic). docs/library.md shows them at work.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar

from agent.core.errors import ApiTrouble, DiskTrouble, HostTrouble, JobFailed
from agent.core.intake import parse_job
from agent.core.models import Job, Offer, OutputFile, RefusedJob, Upload, Verdict, Word
from agent.core.paths import InputFile, plan_inputs, plan_roots, plan_uploads, shown, upload_key
from agent.core.stopping import Stop
from agent.ports import Each, JobApi, JobFolder, Progress, Task, Transfer

T = TypeVar("T")

_WORDS = {Verdict.FINISHED: Word.FINISHED, Verdict.ERROR: Word.ERROR, Verdict.RETURNED: Word.QUEUED}
_HEARD = {
    Verdict.FINISHED: {Word.FINISHED},
    Verdict.ERROR: {Word.ERROR},
    Verdict.RETURNED: {Word.QUEUED, Word.FINISHED, Word.ERROR},
}
"""States after which a verdict is not said (again): `queued` would bring a job back to life that is over."""
_DETAILS_REFUSED = {400, 413, 414, 422, 431}
"""What a server answers that cannot take so long or so odd a query."""


def one_by_one(act: Callable[[T], None], items: Iterable[T], /) -> None:
    """The plainest `Each`: in order, the first exception ends it."""
    for item in items:
        act(item)


class Unwatched:
    """Progress that nobody watches; fulfils `ports.Progress` and `ports.Task`."""

    @contextmanager
    def task(self, label: str, total_bytes: int | None) -> Iterator[Task]:
        """Show nothing."""
        del label, total_bytes
        yield self

    def advance(self, size_bytes: int) -> None:
        """Show nothing."""


@dataclass(frozen=True, slots=True)
class Means:
    """What the staging steps work with.

    `each` decides how many files at once and what is tried again; `stop` ends a transfer that is under
    way; `progress` shows it.
    """

    api: JobApi
    transfer: Transfer
    progress: Progress = field(default_factory=Unwatched)
    stop: Stop = field(default_factory=Stop)
    each: Each = one_by_one


@dataclass(frozen=True, slots=True)
class StagedOutputs:
    """What came of uploading. `skipped`: left out on purpose; `failed`: a reason for each file not there."""

    uploaded: int
    skipped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def fetch_jobs(api: JobApi, offer: Offer, limit: int = 1) -> list[Job | RefusedJob]:
    """Claim up to `limit` jobs that fit the offer; they are ours from now on.

    A job whose spec is malformed comes as `RefusedJob`: report it as an error.
    Raises `ApiTrouble`, `AccountTrouble`; after an answer that was lost do not call again at once.
    """
    return [parse_job(key, raw) for key, raw in api.claim(offer, limit).items()]


def stage_inputs(job: Job, folder: JobFolder, means: Means) -> None:
    """Download every input into the job's folder; inputs that are complete are kept.

    Raises `JobFailed` (an unsafe path, an input that is missing), `HostTrouble`, `Stopped`.
    """
    inputs = plan_inputs(job.spec.handler.files_down)
    plan_roots(job.spec.handler.files_up)
    folder.create()

    def fetch(file: InputFile) -> None:
        with _naming(f"input '{file.label}'"), means.progress.task(file.label, None) as task:
            request = means.api.download_request(file.file_id)
            with folder.part(file.path) as part:
                means.transfer.download(request, part, stop=means.stop, advance=task.advance)

    means.each(fetch, [file for file in inputs if not folder.has(file.path)])


def stage_outputs(
    job: Job,
    folder: JobFolder,
    means: Means,
    *,
    uploaded: Collection[str] = (),
    mark: Callable[[str], None] = lambda _: None,
) -> StagedOutputs:
    """Upload every regular file that the job left where `files_up` says, and its container's log.

    `uploaded`: keys of files that have arrived already; `mark` hears the key of each one that has now.
    A file that cannot be uploaded by the job's own fault (over 5 GiB on S3) does not keep the others back.
    Raises `HostTrouble`, `Stopped`; `JobFailed` if `files_up` is unsafe.
    """
    roots = plan_roots(job.spec.handler.files_up)
    listings = {kind: folder.list_outputs(root) for kind, root in roots.items()}
    uploads = plan_uploads(roots, listings, _log_file(folder))
    failed: list[str] = []

    def push(upload: Upload) -> None:
        key = upload_key(upload)
        if key in uploaded:
            return
        try:
            with _naming(f"output {shown(upload.file.path or (upload.name,))}"):
                _push(job.id, upload, folder, means)
        except JobFailed as failure:
            failed.append(failure.reason)
        else:
            mark(key)

    means.each(push, uploads)
    skipped = tuple(sentence for listing in listings.values() for sentence in listing.skipped)
    return StagedOutputs(len(uploads) - len(failed), skipped, tuple(sorted(failed)))


def _log_file(folder: JobFolder) -> OutputFile | None:
    """The container's log, which lies beside what the container sees: its path is empty."""
    try:
        found = folder.log.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiskTrouble(f"the container's log cannot be read: {error.strerror}") from error
    return OutputFile((), found.st_size, found.st_mtime_ns)


def _push(job_id: int, upload: Upload, folder: JobFolder, means: Means) -> None:
    file = upload.file
    request = means.api.upload_request(job_id, upload.kind, upload.base_path)
    source = folder.open_output(file) if file.path else _open_log(folder)
    with source, means.progress.task(upload.name, file.size_bytes) as task:
        means.transfer.upload(
            request,
            source,
            name=upload.name,
            size_bytes=file.size_bytes,
            stop=means.stop,
            advance=task.advance,
        )


def _open_log(folder: JobFolder) -> BinaryIO:
    try:
        return folder.log.open("rb")
    except OSError as error:
        raise DiskTrouble(f"the container's log cannot be read: {error.strerror}") from error


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Errors in the block say which file they are about."""
    try:
        yield
    except (JobFailed, HostTrouble) as error:
        error.args = (f"{what}: {error}",)
        raise


def report(api: JobApi, job_id: int, verdict: Verdict, details: str, *, may_be_sent: bool = False) -> None:
    """Tell the API how the job ended: the last word, after the uploads. GONE is never told.

    The user gets an e-mail for each verdict, so with `may_be_sent` the API is asked first whether it has
    heard this one already; before a job is given back always, for it may be queued or over. Details that
    the API refuses are left out. Raises `JobGone`, `ApiTrouble`, `AccountTrouble`.
    """
    if verdict is Verdict.GONE:
        return
    word = _WORDS[verdict]
    is_asked = may_be_sent or verdict is Verdict.RETURNED
    if is_asked and api.status(job_id) in _HEARD[verdict]:
        return
    try:
        api.say(job_id, word, details)
    except ApiTrouble as trouble:
        if not details or trouble.status not in _DETAILS_REFUSED:
            raise
        api.say(job_id, word)
