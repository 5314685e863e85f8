"""What the agent needs of the outside world, as Protocols; the adapters fulfil them, the fakes too."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, TypeVar

from agent.core.engine_models import (
    Activity,
    ContainerExit,
    ContainerFact,
    ContainerPlan,
    EngineInfo,
    ImagePull,
)
from agent.core.models import FileRequest, Offer, OutputFile, OutputListing, Record, UploadKind, Word
from agent.core.status import Mode, PastJob
from agent.core.stopping import Stop

T = TypeVar("T")


class JobApi(Protocol):
    """The worker-facing API: one method, one request, no retry (but once after a 401).

    Every method raises `ApiTrouble`, `AccountTrouble`; those about one job also `JobGone` on 404.
    """

    def claim(self, offer: Offer, limit: int) -> dict[str, Any]:
        """GET /jobs: a dequeue; queue id → raw job spec. Never sent again because its answer was lost."""

    def say(self, job_id: int, word: Word, details: str = "") -> None:
        """PUT the job's status, and once, with the verdict, the details."""

    def status(self, job_id: int) -> Word:
        """GET the job's status."""

    def download_request(self, file_id: str) -> FileRequest:
        """Where and how to get a file, good for minutes only. 404 is `JobFailed`: the input is missing."""

    def upload_request(self, job_id: int, kind: UploadKind, base_path: str) -> FileRequest:
        """Where and how to put a file of that folder. Not ours or gone is a 500 here (`ApiTrouble`)."""


class Tokens(Protocol):
    """Where the bearer token for the API comes from."""

    def token(self) -> str:
        """A token that should be accepted now; logs in or refreshes if it must."""

    def reject(self, token: str) -> None:
        """The API answered 401 to this token: do not hand it out again if there is a way to get another."""


class PartFile(Protocol):
    """A download that is not complete yet; a context manager that closes it, keeping what is there."""

    @property
    def size_bytes(self) -> int:
        """How many bytes are here already."""

    @property
    def validator(self) -> str:
        """The ETag of the content that they belong to; empty: unknown, so they cannot be resumed."""

    def restart(self, validator: str) -> None:
        """Throw away what is there; what follows belongs to `validator`."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises `DiskTrouble`."""

    def finish(self) -> None:
        """Flush to the disk and put it at its final place, atomically."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class JobFolder(Protocol):
    """The folder of one job; what a container may have left in it is hostile.

    Paths are tuples of parts below the folder, checked by `core.paths`. Raises `DiskTrouble`.
    """

    @property
    def mount(self) -> str:
        """Absolute path on the host of what the container sees as /files."""

    @property
    def log(self) -> Path:
        """Where the container's log is kept, outside of what the container sees."""

    def create(self) -> None:
        """Make the folder, private to the agent; harmless if it is there."""

    def make(self, path: tuple[str, ...]) -> None:
        """Make a folder inside, with its parents; harmless if it is there."""

    def has(self, path: tuple[str, ...]) -> bool:
        """Whether this input is complete."""

    def part(self, path: tuple[str, ...]) -> PartFile:
        """The input at `path`, to be written."""

    def list_outputs(self, path: tuple[str, ...]) -> OutputListing:
        """Every regular file at or below `path`; links are not followed, odd things are skipped and named."""

    def open_output(self, file: OutputFile) -> BinaryIO:
        """Open it for reading, following no link; `JobFailed` if it is no regular file any more."""

    def remove(self) -> None:
        """Remove the folder with all that is in it; harmless if it is gone."""


class Transfer(Protocol):
    """Carries out one `FileRequest`, once. Raises `StorageTrouble`, `Stopped`, `JobFailed`."""

    def download(
        self, request: FileRequest, part: PartFile, *, stop: Stop, advance: Callable[[int], None]
    ) -> None:
        """Stream to the part, from where it ends if the content is still the same, and finish it.

        `advance` hears the bytes as they come. A 404 is `JobFailed`.
        """

    def upload(
        self,
        request: FileRequest,
        source: BinaryIO,
        *,
        name: str,
        size_bytes: int,
        stop: Stop,
        advance: Callable[[int], None],
    ) -> None:
        """Stream the source as a multipart form with known length. Over 5 GiB on S3 is `JobFailed`."""


class Engine(Protocol):
    """The container engine. Raises `EngineTrouble`; what is the job's fault is `JobFailed`."""

    def ping(self) -> str:
        """The engine's version, if it answers."""

    def info(self) -> EngineInfo:
        """What the engine says of itself; costs it more than `ping`.

        `EngineTrouble` too while it goes down, though it may still tell then how its containers ended.
        """

    def ensure_image(self, image: str, policy: ImagePull, *, stop: Stop, progress: "Progress") -> None:
        """Have the image here. `JobFailed` if there is none of that name; `Stopped`."""

    def ensure_started(self, plan: ContainerPlan) -> ContainerFact:
        """Create the container if there is none of that name, start it if it never ran, adopt it else.

        An exited one is never started again. `ImageMissing` if somebody removed the image meanwhile.
        """

    def wait(self, name: str, *, timeout_s: float, stop: Stop) -> ContainerExit | None:
        """Sleep until the container has ended; None: it runs on when the time is over or `stop` is set.

        `EngineTrouble` too if there is no such container.
        """

    def look(self, name: str) -> ContainerFact | None:
        """What the engine knows of the container; None: nothing. One that is being removed is waited for."""

    def activity(self, name: str) -> Activity:
        """What the container has done so far. `EngineTrouble` too if it does not run."""

    def list_ours(self) -> list[ContainerFact]:
        """All containers that carry our labels, those of other agents too."""

    def save_log(self, name: str, path: Path, *, stop: Stop) -> None:
        """Write the container's whole log to `path`."""

    def read_log(self, name: str, *, follow: bool, stop: Stop) -> Iterator[bytes]:
        """The container's log in pieces; with `follow` until it ends. Raises `Stopped`."""

    def kill(self, name: str, *, grace_s: float) -> None:
        """SIGTERM, after `grace_s` SIGKILL; harmless if it has ended or is gone.

        `Unkillable` if it runs on all the same.
        """

    def remove(self, name: str) -> None:
        """Kill and remove the container; harmless if it is gone. `Unkillable` if it runs on all the same."""


class Journal(Protocol):
    """What must outlive the agent. Raises `DiskTrouble`."""

    @property
    def agent_id(self) -> str:
        """Who we are on this machine, the same for ever."""

    def save(self, record: Record) -> None:
        """Insert or replace; a phase that may not follow the saved one is refused with ValueError."""

    def active(self) -> list[Record]:
        """Every job that is not removed yet, oldest first; one that cannot be read is `lost` from now on."""

    def lost(self) -> dict[int, float]:
        """The jobs that were here and cannot be read, and since when that is known (unix seconds)."""

    def forget(self, job_id: int) -> None:
        """Nothing more has to be done about a lost job; harmless if it is none."""

    def mark_uploaded(self, job_id: int, upload_key: str) -> None:
        """This file has arrived."""

    def uploaded(self, job_id: int) -> frozenset[str]:
        """The keys of all files of the job that have arrived."""

    def close_job(self, record: Record, ended_at: float, log_tail: str = "") -> None:
        """Move the job to the history with the end of its container's log, in one transaction."""

    def history(self, limit: int) -> list[PastJob]:
        """The jobs that are over, the last first."""

    def past_log(self, job_id: int) -> str | None:
        """The end of the log of a job that is over; None: not known."""

    def mode(self) -> Mode:
        """What the owner asked for last."""

    def save_mode(self, mode: Mode) -> None:
        """The owner asks for this now."""


class Task(Protocol):
    """One thing that takes a while."""

    def advance(self, size_bytes: int) -> None:
        """So many bytes more (or less, when an attempt starts anew)."""


class Progress(Protocol):
    """Shows a person how far long work is; plain log lines where nobody watches."""

    def task(self, label: str, total_bytes: int | None) -> AbstractContextManager[Task]:
        """Show a task until the block ends."""


class Each(Protocol):
    """Does something for each item: one by one, or several at once with retries; raises what it raises."""

    def __call__(self, act: Callable[[T], None], items: Iterable[T], /) -> None:
        """Return when all are done."""
