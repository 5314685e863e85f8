"""How a job's container is made: its name, labels, command, environment, limits and folders."""

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from agent.core.engine_models import ContainerPlan
from agent.core.errors import JobFailed
from agent.core.models import Job, Slot
from agent.core.shell import plain_mkdirs

_Number = TypeVar("_Number", int, float)

MOUNT = "/files"
LABEL_JOB = "decode-agent.job-id"
LABEL_AGENT = "decode-agent.agent-id"
LABEL_VERSION = "decode-agent.version"
LABEL_NOTE = "decode-agent.job"

# What root inside needs to write, own and hand over its files; everything else is dropped.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")

# An image's ENTRYPOINT would swallow the command, so the shell takes its place.
_SHELL = ("/bin/sh", "-c")

# Linux refuses a longer argument or variable (MAX_ARG_STRLEN, its final NUL counted).
_MAX_TEXT_BYTES = 128 * 1024 - 1

# `results.csv`, `log.log`, `movie.h5`, but not `out.d` or `model.v2`.
_FILE_NAME = re.compile(r".+\.(?!v[0-9]+$)[A-Za-z][A-Za-z0-9]{1,4}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings allow a container; 0 means: as much as the job's slot has.

    `network` is what Docker calls a network mode. `shm_mib` counts within the memory, so that 0 gives
    all of it to /dev/shm. `capabilities`: more than `CAPABILITIES`.
    """

    network: str = "bridge"
    memory_mib: int = 0
    cpus: float = 0.0
    shm_mib: int = 0
    pids: int = 4096
    capabilities: tuple[str, ...] = ()
    log_max_mib: int = 100


def container_name(job_id: int) -> str:
    """The name of a job's container, a function of its id alone, so that it is found after a crash."""
    return f"decode-job-{job_id}"


def labels_of(job_id: int, agent_id: str, version: str) -> tuple[tuple[str, str], ...]:
    """What marks a container as ours, as this agent's and as this job's."""
    return ((LABEL_JOB, str(job_id)), (LABEL_AGENT, agent_id), (LABEL_VERSION, version))


def with_note(plan: ContainerPlan, note: str) -> ContainerPlan:
    """The plan of a container that tells what its job is (`core.adoption`)."""
    return replace(plan, labels=(*plan.labels, (LABEL_NOTE, note))) if note else plan


def is_image_allowed(image: str, patterns: Collection[str]) -> bool:
    """Whether a pattern (shell wildcards, `*` crosses `/`) fits the name with or without its tag.

    `ghcr.io/lab/decode` allows each of its tags and digests. No pattern at all allows everything.
    """
    if not patterns:
        return True
    untagged = re.sub(r"(:[^:/@]*)?(@.*)?\Z", "", image)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (image, untagged))


def plan_container(
    job: Job,
    slot: Slot,
    limits: Limits,
    *,
    agent_id: str,
    version: str,
    folder: str,
    allowed_images: Collection[str] = (),
) -> ContainerPlan:
    """Everything the engine is told. `folder`: absolute path on the host of the job's /files.

    Raises `JobFailed`, naming the field, if the job's spec cannot be run as it is.
    """
    memory_mib = _capped(slot.memory_mib, limits.memory_mib)
    command = _command(job.spec.app.cmd)
    return ContainerPlan(
        name=container_name(job.id),
        image=_image(job.spec.handler.image_url, allowed_images),
        entrypoint=_SHELL if command else None,
        command=command,
        env=_env(job.spec.app.env or {}, has_gpu=bool(slot.gpus)),
        labels=labels_of(job.id, agent_id, version),
        folder=folder,
        memory_mib=memory_mib,
        cpus=_capped(float(slot.cpu_cores), limits.cpus),
        shm_mib=limits.shm_mib or memory_mib,
        pids=limits.pids,
        network=limits.network,
        capabilities=_capabilities(limits.capabilities),
        log_max_mib=limits.log_max_mib,
        gpu_uuids=tuple(gpu.uuid for gpu in slot.gpus),
    )


def folders_to_make(
    files_up: Mapping[str, tuple[str, ...]],
    cmd: Iterable[str] | None,
    env: Mapping[str, str] | None = None,
) -> tuple[tuple[str, ...], ...]:
    """The folders that must be there before the command runs, as parts below the job's folder.

    `files_up`: the checked paths of the outputs. Each is made, for many programs write into theirs
    without making it, except from the first one on that the command makes with a plain `mkdir`, which
    fails on a folder that exists. An entry that looks like a file (`log/log.log`) gets its parent only,
    so that `> /files/log/log.log` works, unless the command speaks of something below it.
    """
    text = " ".join(cmd or ())
    made = {_parts(path) for path in plain_mkdirs(text, env or {})}
    wanted = [_above_mkdir(_folder_of(path, text), made) for path in files_up.values()]
    return tuple(sorted({path for path in wanted if path}))


def _folder_of(path: tuple[str, ...], text: str) -> tuple[str, ...]:
    is_file = bool(path) and _FILE_NAME.fullmatch(path[-1]) and f"{'/'.join(path)}/" not in text
    return path[:-1] if is_file else path


def _above_mkdir(path: tuple[str, ...], made: set[tuple[str, ...]]) -> tuple[str, ...]:
    for length in range(1, len(path) + 1):
        if path[:length] in made:
            return path[: length - 1]
    return path


def _parts(path: str) -> tuple[str, ...]:
    """Parts below the mount; the empty path for anything else, which matches no output."""
    return tuple(path.removeprefix(f"{MOUNT}/").split("/")) if path.startswith(f"{MOUNT}/") else ()


def _capped(share: _Number, limit: _Number) -> _Number:
    return min(share, limit) if share and limit else share or limit


def _image(image: str, allowed: Collection[str]) -> str:
    if not image:
        raise JobFailed("handler.image_url: is empty")
    if not image.isprintable() or any(char.isspace() for char in image):
        raise JobFailed(f"handler.image_url: {image[:200]!r} holds a space or a control character")
    if image.startswith("-"):
        raise JobFailed(f"handler.image_url: {image[:200]!r} looks like an option")
    if not is_image_allowed(image, allowed):
        raise JobFailed(
            f"handler.image_url: {image[:200]!r} is not among the images that this worker runs "
            "(its setting ALLOWED_IMAGES)"
        )
    return image


def _command(cmd: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The text for the shell; None, for no command and for an empty one alike: the image's own."""
    if not cmd:
        return None
    text = " ".join(cmd)
    _check_text("app.cmd", text)
    return (text,)


def _env(env: Mapping[str, str], *, has_gpu: bool) -> tuple[tuple[str, str], ...]:
    """The job's variables without those by which it could reach for a GPU that is not its own."""
    for name, value in env.items():
        if not name or "=" in name:
            raise JobFailed(f"app.env: {name[:200]!r} is no name for a variable")
        _check_text(f"app.env.{name[:80]!r}", f"{name}={value}")
    kept = {
        name: value
        for name, value in env.items()
        if not name.startswith("NVIDIA_") and name != "CUDA_VISIBLE_DEVICES"
    }
    if not has_gpu:  # an image that asks for all GPUs gets them where nvidia is the default runtime
        kept["NVIDIA_VISIBLE_DEVICES"] = "void"
    return tuple(kept.items())


def _check_text(field: str, text: str) -> None:
    if "\0" in text:
        raise JobFailed(f"{field}: holds a NUL character")
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise JobFailed(f"{field}: is not valid Unicode") from None
    if size_bytes > _MAX_TEXT_BYTES:
        raise JobFailed(f"{field}: is longer than the 128 KiB that Linux takes")


def _capabilities(extra: Iterable[str]) -> tuple[str, ...]:
    more = (name.strip().upper().removeprefix("CAP_") for name in extra)
    return tuple(dict.fromkeys((*CAPABILITIES, *more)))
