"""Whose fault it is when the container engine refuses; `message` is what it said, over several versions.

Docker tells most of it in words alone: the texts are those of dockerd 20.10 to 29, runc and the registries.
"""

import re

from agent.core.container import container_name
from agent.core.engine_models import ContainerFact
from agent.core.errors import (
    AgentError,
    DiskTrouble,
    EngineTrouble,
    ImageMissing,
    JobFailed,
    NameTaken,
    Unkillable,
)
from agent.core.wire import one_line

_NO_SPACE = "no space left on device"
_NO_EXIT = re.compile(r"did not receive an exit event|is zombie and can not be killed", re.IGNORECASE)
_MALFORMED = re.compile(r"invalid reference format|repository name must|invalid (index|tag)", re.IGNORECASE)
_NO_IMAGE = re.compile(r"no such image", re.IGNORECASE)
_NO_COMMAND = re.compile(r"no command specified", re.IGNORECASE)

_HALF_STARTED = re.compile(r"\btask [0-9a-f]+: already exists|\bid already in use\b")
# runc names what it tried to run; a missing runtime, shim or docker-init is the host's fault.
_NOT_STARTED = re.compile(
    r"(?:starting container process caused|unable to start container process|during container init)"
    r"[^\n]*?(exec:[^\n]*|argument list too long)|(unable to find (?:user|group)[^\n]*)",
    re.IGNORECASE,
)
_HOSTS_PROGRAM = re.compile(r"docker-init|tini|nvidia-container|/proc/self/exe", re.IGNORECASE)

# Where a message names the image, whose name may hold any of the words looked for.
_NAMES = re.compile(r"\"[^\"]*\"(?:: \S+(?=: ))?|\bfor [^\s,]+", re.IGNORECASE)

_UNREACHABLE = re.compile(
    r"dial tcp|no such host|lookup |connection refused|timeout|timed out|deadline exceeded|canceled"
    r"|toomanyrequests|too many requests|rate limit|unexpected http status|unexpected status"
    r"|server error|x509|tls|EOF|connection reset|unreachable|proxyconnect|HTTP response to HTTPS",
    re.IGNORECASE,
)
_NOT_THERE = re.compile(
    r"manifest unknown|name unknown|not found|does not exist|denied|unauthorized|authorization|authentication"
    r"|no matching manifest|not supported|unsupported",
    re.IGNORECASE,
)


def cause_of(error: BaseException) -> str:
    """What lies at the bottom: the libraries wrap a `No such file or directory` up to four times."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def check_owner(fact: ContainerFact, agent_id: str) -> None:
    """Raise `NameTaken` if somebody else made the container: then it is never touched."""
    if fact.job_id is None or container_name(fact.job_id) != fact.name:
        raise NameTaken(f"container {fact.name} is not ours and has a name of ours: remove or rename it")
    if fact.agent_id != agent_id:
        raise NameTaken(
            f"container {fact.name} belongs to another agent ({one_line(fact.agent_id)}): remove it if there"
            " is no such agent any more"
        )


def engine_fault(doing: str, message: str) -> AgentError:
    """The engine refused and nothing says that the job is to blame. `doing`: what was tried."""
    if _NO_SPACE in message:
        return DiskTrouble(f"Docker: no space left on device ({doing})")
    return EngineTrouble(f"Docker refused ({doing}): {one_line(message)}")


def image_fault(image: str, doing: str, message: str) -> AgentError:
    """The image could not be looked for."""
    if _NO_IMAGE.search(message):
        return JobFailed(f"image not found: {image}")
    return _malformed(image) if _MALFORMED.search(message) else engine_fault(doing, message)


def create_fault(image: str, doing: str, message: str) -> AgentError:
    """The container could not be created; its image was here a moment ago."""
    if _NO_IMAGE.search(message):
        return ImageMissing(f"somebody removed the image {image} before its container was made")
    if _NO_COMMAND.search(message):
        return JobFailed(f"the job has no command and its image {image} brings none")
    return image_fault(image, doing, message)


def kill_fault(name: str, doing: str, message: str) -> AgentError:
    """The container could not be killed."""
    return Unkillable(unkillable_text(name)) if _NO_EXIT.search(message) else engine_fault(doing, message)


def unkillable_text(name: str) -> str:
    """What is wrong with a container that runs on after SIGKILL."""
    return f"container {name} cannot be killed: its processes hang in the kernel"


def start_fault(doing: str, message: str) -> AgentError:
    """The container could not be started: what it was to run may be missing from its image."""
    found = _NOT_STARTED.search(message)
    if found and not _HOSTS_PROGRAM.search(found[0]):
        why = (found[1] or found[2]).removesuffix(": unknown")
        return JobFailed(f"command could not be started: {one_line(why)}")
    return engine_fault(doing, message)


def is_half_started(message: str) -> bool:
    """Whether a container can never be started: dockerd was killed while it started it.

    It has forgotten so, containerd has not, of the task or of the container: "task …: already exists", "id
    already in use". Seen with Docker 20.10 and SIGKILL.
    """
    return _HALF_STARTED.search(message) is not None


def pull_fault(image: str, message: str) -> AgentError:
    """The image could not be pulled: it does not exist, or its registry cannot be asked now."""
    said = _NAMES.sub("", message.replace(image, "") if "/" in image else message)
    if _NO_SPACE in said:
        return DiskTrouble(f"no space left on device while the image {image} was pulled")
    if _MALFORMED.search(said):
        return _malformed(image)
    if not _UNREACHABLE.search(said) and _NOT_THERE.search(said):
        return JobFailed(f"image not found: {image} ({one_line(message)})")
    return EngineTrouble(f"the registry does not give the image {image}: {one_line(message)}")


def _malformed(image: str) -> JobFailed:
    return JobFailed(f"image not found: {image[:200]!r} is no valid name of an image")
