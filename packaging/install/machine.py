"""What install.sh asks in Python: Docker over its socket (there may be no client), and folders of wheels.

Runs with any Python 3 and nothing but its standard library. Every command prints lines for the shell to read.
"""

import http.client
import json
import re
import socket
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path

TIMEOUT_S = 20
LABEL = "decode-agent.agent-id"


class DockerSocket(http.client.HTTPConnection):
    """Docker's API at a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, what: str, method: str = "GET") -> object:
    """Docker's answer; SystemExit with a sentence if there is none."""
    try:
        line = DockerSocket(path)
        line.request(method, what)
        answer = line.getresponse()
        body = answer.read()
    except OSError as error:
        sys.exit(f"Docker does not answer at {path}: {error.strerror or error}")
    if answer.status >= 400:  # noqa: PLR2004  where HTTP's errors begin
        sys.exit(f"Docker answers {answer.status} at {path}: {body[:200].decode(errors='replace')}")
    return json.loads(body) if body else None


def containers(path: str, **filters: list[str]) -> list[dict]:  # type: ignore[type-arg]  # JSON
    """The containers that the filters let through, with all that Docker knows of each."""
    query = urllib.parse.urlencode({"all": "1", "filters": json.dumps(filters)})
    listed = ask(path, f"/containers/json?{query}")
    return [ask(path, f"/containers/{one['Id']}/json") for one in listed]  # type: ignore[misc,attr-defined]  # JSON


def uses_gpu(container: dict, default_runtime: str) -> bool:  # type: ignore[type-arg]  # JSON
    """Whether it got its GPU by NVIDIA's hook, whose device rules a daemon-reload forgets; CDI's stay."""
    host = container["HostConfig"]
    asked = [one for one in host.get("DeviceRequests") or [] if one.get("Driver") != "cdi"]
    runtime = (host.get("Runtime") or default_runtime) == "nvidia"
    variables = dict(entry.partition("=")[::2] for entry in container["Config"].get("Env") or [])
    sees_gpu = variables.get("NVIDIA_VISIBLE_DEVICES", "void") not in {"", "void", "none"}
    return bool(asked) or (runtime and sees_gpu)


def hazard(path: str) -> None:
    """Print the containers that would lose their GPU by `systemctl daemon-reload`.

    https://github.com/NVIDIA/nvidia-container-toolkit/issues/48: it happens where systemd keeps the cgroups
    of the containers and knows nothing of the devices; links in /dev/char let it know them.
    """
    info = ask(path, "/info")
    assert isinstance(info, dict)  # noqa: S101  for the type checker
    if info.get("CgroupDriver") != "systemd" or any(Path("/dev/char").glob("195:*")):
        return
    for one in containers(path, status=["running"]):
        if uses_gpu(one, info.get("DefaultRuntime", "")):
            print(one["Name"].lstrip("/"))


def jobs(path: str, agent_id: str, state: str) -> None:
    """Print the names of this agent's containers, `running` or `all`."""
    wanted = {"status": ["running"]} if state == "running" else {}
    for one in containers(path, label=[f"{LABEL}={agent_id}"], **wanted):
        print(one["Name"].lstrip("/"))


def remove(path: str, name: str) -> None:
    """Remove a container, running or not."""
    ask(path, f"/containers/{urllib.parse.quote(name)}?force=1&v=1", "DELETE")


def lacking(folder: str, project: str, *more: str) -> None:
    """Print what the project needs directly, or `more`, that no wheel or archive in the folder is of."""
    import tomllib  # noqa: PLC0415  Python 3.11, which the other commands do not need

    text = tomllib.loads(Path(project).read_text())
    named = [*text["project"]["dependencies"], *text["project"]["optional-dependencies"]["host"]]
    named += [*text["build-system"]["requires"], *more]
    there = {normal(re.split(r"-\d", path.name)[0]) for path in Path(folder).iterdir()}
    for name in dict.fromkeys(normal(re.split(r"[^\w.-]", one)[0]) for one in named):
        if name not in there:
            print(name)


def normal(name: str) -> str:
    """A package's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def ping(path: str) -> None:
    """End with a sentence unless Docker answers."""
    ask(path, "/version")


COMMANDS: dict[str, Callable[..., None]] = {
    "hazard": hazard,
    "jobs": jobs,
    "lacking": lacking,
    "ping": ping,
    "remove": remove,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
