"""The bodies of the Docker Engine API: what we send for a plan, what an `inspect` means.

Fields as in https://docs.docker.com/reference/api/engine/version/v1.41/ (Docker 20.10) and later.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from agent.core.container import LABEL_AGENT, LABEL_JOB, LABEL_NOTE, MOUNT
from agent.core.engine_models import ContainerExit, ContainerFact, ContainerPlan, ContainerStatus

_MIB = 1024 * 1024
_LOG_FILES = 2  # json-file rotates only if it may keep more than one
_FRAME_HEAD_BYTES = 8
_PIECE_BYTES = 64 * 1024
_MARK_BYTES = 30  # a time with nine digits after the point
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)

_STATUS = {
    "created": ContainerStatus.CREATED,
    "running": ContainerStatus.RUNNING,
    "restarting": ContainerStatus.RUNNING,
    "paused": ContainerStatus.PAUSED,
    "exited": ContainerStatus.EXITED,
    "removing": ContainerStatus.EXITED,
    "dead": ContainerStatus.EXITED,
}


def create_body(plan: ContainerPlan) -> dict[str, Any]:
    """The body of POST /containers/create."""
    return {
        "Image": plan.image,
        "Entrypoint": None if plan.entrypoint is None else list(plan.entrypoint),
        "Cmd": None if plan.command is None else list(plan.command),
        "Env": [f"{name}={value}" for name, value in plan.env],
        "Labels": dict(plan.labels),
        "HostConfig": _host_config(plan),
    }


def _host_config(plan: ContainerPlan) -> dict[str, Any]:
    memory_bytes = plan.memory_mib * _MIB
    log_kib = max(plan.log_max_mib * 1024 // _LOG_FILES, 64)
    return {
        # A mount is refused where its source is missing; a bind would make a folder of root's.
        "Mounts": [{"Type": "bind", "Source": plan.folder, "Target": MOUNT, "ReadOnly": False}],
        "NetworkMode": plan.network or "default",
        "Memory": memory_bytes,
        "MemorySwap": memory_bytes,  # memory and swap together: no swap
        "NanoCpus": int(plan.cpus * 1e9),
        "PidsLimit": plan.pids,
        "IpcMode": "private",
        "ShmSize": plan.shm_mib * _MIB,
        "Init": True,
        "CapDrop": ["ALL"],
        "CapAdd": list(plan.capabilities),
        "SecurityOpt": ["no-new-privileges"],
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": f"{log_kib}k", "max-file": str(_LOG_FILES)},
        },
        "DeviceRequests": _device_requests(plan.gpu_uuids),
    }


def _device_requests(gpu_uuids: tuple[str, ...]) -> list[dict[str, Any]]:
    """All GPUs in one request, no driver named: the engine finds what serves `gpu`."""
    return [{"DeviceIDs": list(gpu_uuids), "Capabilities": [["gpu"]]}] if gpu_uuids else []


def is_going(details: Mapping[str, Any]) -> bool:
    """Whether somebody is removing the container: its end is then no end of its own.

    Docker says so from before it kills a running one until that is gone.
    """
    return (details.get("State") or {}).get("Status") == "removing"


def fact_of(details: Mapping[str, Any]) -> ContainerFact:
    """What the answer to GET /containers/{name}/json says."""
    state = details.get("State") or {}
    labels = (details.get("Config") or {}).get("Labels") or {}
    status = _STATUS.get(str(state.get("Status")), ContainerStatus.EXITED)
    job_id = str(labels.get(LABEL_JOB, ""))
    return ContainerFact(
        name=str(details.get("Name", "")).removeprefix("/"),
        status=status,
        job_id=int(job_id) if job_id.isascii() and job_id.isdigit() else None,
        agent_id=str(labels.get(LABEL_AGENT, "")),
        started_at=unix_time(str(state.get("StartedAt", ""))),
        exit=_exit_of(state) if status is ContainerStatus.EXITED else None,
        job_note=str(labels.get(LABEL_NOTE, "")),
    )


def _exit_of(state: Mapping[str, Any]) -> ContainerExit:
    return ContainerExit(
        code=int(state.get("ExitCode", 0)),
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error", "")),
        started_at=unix_time(str(state.get("StartedAt", ""))),
        finished_at=unix_time(str(state.get("FinishedAt", ""))),
    )


def cpu_s_of(stats: Mapping[str, Any]) -> float:
    """The seconds of CPU in the answer to GET /containers/{name}/stats; 0.0 where it has no numbers."""
    return int(((stats.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0) / 1e9


def mark_of(last_line: bytes) -> str:
    """What tells the last line of a log from others: the time in front of it."""
    return last_line[:_MARK_BYTES].decode("ascii", "replace")


def unix_time(text: str) -> float:
    """Seconds of a time as Docker writes it, with up to nine digits after the point; 0.0 for never."""
    found = _TIME.fullmatch(text)
    if not found or text.startswith("0001-"):
        return 0.0
    moment = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
    return moment.astimezone(UTC).timestamp() + float(found[2] or 0)


def log_of(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The bytes of a log without the frames that tell stdout from stderr, in pieces of bounded size.

    A frame is a byte for the stream, three zeros, the length in four bytes, the content. `read(n)` gives
    n bytes, less only at the end. Raises `ValueError` if that comes in mid-frame.
    """
    while head := read(_FRAME_HEAD_BYTES):
        left = int.from_bytes(head[4:], "big")
        while left:
            piece = read(min(left, _PIECE_BYTES))
            if not piece:
                raise ValueError("the log is cut off")
            left -= len(piece)
            yield piece


def message_in(body: bytes) -> str:
    """What an answer with an error status says."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["message"])
    return body.decode("utf-8", "replace")
