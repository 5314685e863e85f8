"""The values that travel through the agent: what comes from outside (pydantic) and what is ours (frozen)."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from agent.core.engine_models import EngineLife


class Word(StrEnum):
    """The API's words for a job's state, as PUT and GET /jobs/{id}/status use them."""

    QUEUED = "queued"
    PULLED = "pulled"
    PREPROCESSING = "preprocessing"
    RUNNING = "running"
    POSTPROCESSING = "postprocessing"
    FINISHED = "finished"
    ERROR = "error"


class UploadKind(StrEnum):
    """Where the API files an output."""

    OUTPUT = "output"
    LOG = "log"
    ARTIFACT = "artifact"


class _FromOutside(BaseModel):
    """Unknown fields may be added to the API any day: they are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AppSpec(_FromOutside):
    """What to run. `cmd`: words joined with spaces for a shell, None for the image's own command."""

    cmd: tuple[str, ...] | None = None
    env: dict[str, str] | None = None


class HandlerSpec(_FromOutside):
    """In what to run it, and its files. `files_down`: path in the job's folder → file id."""

    image_url: str
    files_down: dict[str, str] | None = None
    files_up: dict[UploadKind, str] | None = None


class HardwareSpec(_FromOutside):
    """What the job asked for; memory in MiB."""

    cpu_cores: int | None = None
    memory: int | None = None
    gpu_model: str | None = None
    gpu_archi: str | None = None
    gpu_mem: int | None = None


class JobSpec(_FromOutside):
    """One value of the answer to GET /jobs."""

    app: AppSpec
    handler: HandlerSpec
    hardware: HardwareSpec = HardwareSpec()


class FileRequest(_FromOutside):
    """The answer of the two `…/url` endpoints: the request to send for the file itself."""

    method: str
    url: str
    headers: dict[str, str] = {}
    data: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job; `id` is the queue's id, the key for every later call."""

    id: int
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class RefusedJob:
    """A claimed job whose spec cannot be used. `id` is None where not even the id is one."""

    id: int | None
    key: str
    reason: str


class Phase(StrEnum):
    """Where a job's record stands; `core.lifecycle` says what may follow what."""

    STAGING_IN = "STAGING_IN"
    RUNNING = "RUNNING"
    STAGING_OUT = "STAGING_OUT"
    REPORTING = "REPORTING"
    DONE = "DONE"


class Verdict(StrEnum):
    """How a job ended here. FINISHED and ERROR are its user's; GONE is never told to anyone.

    RETURNED: given back to the queue, for this machine could not do it or its owner wanted it back.
    """

    FINISHED = "finished"
    ERROR = "error"
    GONE = "gone"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the job ended. `reason`: one line for its user; `log_tail`: the last lines of its log."""

    verdict: Verdict
    reason: str = ""
    exit_code: int | None = None
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """All that the journal knows of one job; times are unix seconds.

    `spec` is None for a job whose spec was refused. `container_started`: the container was seen running
    once, so that one that is missing now has vanished; `life`: that of the engine then. `attempts`: how often
    one was started. `ending`: why the agent itself ended it, written down before it did. `notes`: lines for
    the report, beside the reason.
    """

    job_id: int
    phase: Phase
    spec: JobSpec | None
    slot: int
    claimed_at: float
    container_started: bool = False
    attempts: int = 0
    outcome: Outcome | None = None
    notes: tuple[str, ...] = ()
    life: EngineLife | None = None
    ending: str = ""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the job will see it."""

    uuid: str
    model: str
    architecture: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A share of the machine that runs one job at a time."""

    id: int
    memory_mib: int
    cpu_cores: int
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """What GET /jobs is asked with."""

    memory_mib: int
    cpu_cores: int
    gpu_mem_mib: int = 0
    gpu_model: str | None = None
    gpu_archi: str | None = None
    groups: tuple[str, ...] = ()
    older_than_s: int = 0


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A regular file that a job left.

    `path`: parts below the job's folder as the disk spells them, bytes that are not UTF-8 as surrogates.
    """

    path: tuple[str, ...]
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class OutputListing:
    """What lies below one entry of `files_up`; `skipped`: a sentence for each thing left out."""

    files: tuple[OutputFile, ...]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to upload. `base_path` and `name` as the API gets them (valid UTF-8)."""

    kind: UploadKind
    base_path: str
    name: str
    file: OutputFile
