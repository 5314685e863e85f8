"""The values of the API's document: what a job is, what its states are, what a worker may upload."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class JobState(StrEnum):
    """The words of ``PUT /jobs/{id}/status``, in the order in which the API's document lists them."""

    queued = "queued"
    preprocessing = "preprocessing"
    pulled = "pulled"
    running = "running"
    postprocessing = "postprocessing"
    finished = "finished"
    error = "error"


class UploadType(StrEnum):
    """What a worker may send back for a job."""

    output = "output"
    log = "log"
    artifact = "artifact"


class Environment(StrEnum):
    """Where a job may run; a job without one is for whoever has waited long enough."""

    cloud = "cloud"
    local = "local"


class AppSpecs(BaseModel):
    """What runs inside the container."""

    cmd: list[str] | None = None
    env: dict[str, str] | None = None


class HandlerSpecs(BaseModel):
    """The image and the files around it."""

    image_url: str
    image_name: str | None = None
    image_version: str | None = None
    entrypoint: str | None = None
    files_down: dict[str, str] | None = None
    files_up: dict[UploadType, str] | None = None


class MetaSpecs(BaseModel):
    """The user's side of a job; the API lets more fields through."""

    model_config = ConfigDict(extra="allow")

    job_id: int
    date_created: str


class HardwareSpecs(BaseModel):
    """What a job needs; ``memory`` and ``gpu_mem`` in MiB."""

    cpu_cores: int | None = None
    memory: int | None = None
    gpu_model: str | None = None
    gpu_archi: str | None = None
    gpu_mem: int | None = None


class JobSpecs(BaseModel):
    """A job as ``GET /jobs`` answers it. The name appears in the text of a malformed row's 500."""

    app: AppSpecs
    handler: HandlerSpecs
    meta: MetaSpecs
    hardware: HardwareSpecs


class Submission(BaseModel):
    """A job as a user of the stand-in hands it in (``POST /mock/jobs``).

    Either the parts (``image``, ``cmd``, …) or a whole ``spec``. A ``spec`` that is no valid ``JobSpecs``
    becomes a malformed row, which answers 500 to every worker that it matches; with ``unchecked`` it is
    served word for word, however hostile. ``files_down`` maps a path in the job's folder to a file id.
    """

    model_config = ConfigDict(extra="forbid")

    image: str = "registry.test/demo:2"
    cmd: list[str] | None = None
    env: dict[str, str] | None = None
    files_down: dict[str, str] = Field(default_factory=dict)
    files_up: dict[str, str] | None = Field(
        default_factory=lambda: {"output": "output", "log": "log", "artifact": "model"}
    )
    cpu_cores: int | None = 1
    memory: int | None = 1
    gpu_model: str | None = None
    gpu_archi: str | None = None
    gpu_mem: int | None = 0
    environment: Environment | None = Environment.local
    priority: int = 5
    group: str | None = None
    name: str | None = None
    queue_id: str | None = None
    spec: dict[str, Any] | None = None
    unchecked: bool = False

    def build_spec(self, job_id: int, date_created: str) -> dict[str, Any]:
        """The row that the queue stores: ``spec`` if there is one, else what the parts make."""
        if self.spec is not None:
            return self.spec
        return {
            "app": {"cmd": self.cmd, "env": self.env},
            "handler": {
                "image_url": self.image,
                "image_name": "demo",
                "image_version": "v2",
                "entrypoint": "train",
                "files_down": self.files_down or None,
                "files_up": self.files_up,
            },
            "meta": {"job_id": job_id, "date_created": date_created},
            "hardware": {
                "cpu_cores": self.cpu_cores,
                "memory": self.memory,
                "gpu_model": self.gpu_model,
                "gpu_archi": self.gpu_archi,
                "gpu_mem": self.gpu_mem,
            },
        }
