"""What Docker says of itself, what a trial container showed, and what a doctor makes of that."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.findings import Finding, State
from agent.core.wire import one_line

DAEMON_JSON = "/etc/docker/daemon.json"
_ABOUT = "docker"
_CONTAINER = "container"
_DRIVERS = "https://docs.docker.com/engine/storage/drivers/select-storage-driver/"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What `docker info` tells; empty texts where this version of Docker does not say.

    `proxies`: what dockerd itself uses, by HTTP_PROXY, HTTPS_PROXY, NO_PROXY. `cdi_folders`: where it
    looks for CDI specs.
    """

    version: str = ""
    root: str = ""
    storage_driver: str = ""
    cgroup_driver: str = ""
    live_restore: bool = False
    is_rootless: bool = False
    cdi_folders: tuple[str, ...] = ()
    proxies: Mapping[str, str] | None = None

    @property
    def is_snap(self) -> bool:
        """Whether it is the snap package, which has a file system of its own."""
        return self.root.startswith("/var/snap/")


def engine_facts_of(info: Mapping[str, Any]) -> EngineFacts:
    """The answer of GET /info, of API 1.40 and later."""
    names = {"HttpProxy": "HTTP_PROXY", "HttpsProxy": "HTTPS_PROXY", "NoProxy": "NO_PROXY"}
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    return EngineFacts(
        version=one_line(str(info.get("ServerVersion", ""))),
        root=str(info.get("DockerRootDir", "")),
        storage_driver=str(info.get("Driver", "")),
        cgroup_driver=str(info.get("CgroupDriver", "")),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        is_rootless=any(option.startswith("name=rootless") for option in options),
        cdi_folders=tuple(str(folder) for folder in info.get("CDISpecDirs") or ()),
        proxies={ours: str(info[theirs]) for theirs, ours in names.items() if info.get(theirs)},
    )


def engine_findings(engine: EngineFacts) -> Iterator[Finding]:
    """How Docker is set up, as far as jobs feel it."""
    if engine.live_restore:
        yield Finding(_ABOUT, State.OK, "live-restore is on: jobs live through a restart of Docker")
    else:
        text = "live-restore is off: a restart of Docker (its upgrade, say) kills running jobs"
        fix = f'put "live-restore": true into {DAEMON_JSON}, then: sudo systemctl reload docker'
        yield Finding(_ABOUT, State.WARNING, text, fix)
    if engine.storage_driver == "vfs":
        text = "its storage driver is vfs, which copies the whole image for each container"
        yield Finding(_ABOUT, State.WARNING, text, f"see {_DRIVERS} for what the disk needs for overlay2")
    if engine.is_snap:
        text = "it is the snap package, which cannot see the jobs' files in /var/lib"
        fix = "sudo snap remove docker && sudo apt install docker.io"
        yield Finding(_ABOUT, State.WARNING, text, fix)
    if engine.is_rootless:
        text = "it runs rootless: it ends when its user logs out and may not limit what jobs use"
        fix = "use the machine's own Docker: DOCKER_HOST=unix:///var/run/docker.sock"
        yield Finding(_ABOUT, State.WARNING, text, fix)


@dataclass(frozen=True, slots=True)
class ReloadFacts:
    """What decides whether GPU containers outlive `systemctl daemon-reload`.

    `is_by_cdi`: whether CDI put the GPU into the trial container; None: no such container ran.
    `has_device_links`: whether /dev/char has links to NVIDIA's devices.
    """

    cgroup_driver: str
    is_by_cdi: bool | None
    has_cdi_specs: bool
    has_device_links: bool


def reload_finding(facts: ReloadFacts) -> Finding:
    """The hazard of nvidia-container-toolkit#48: systemd forgets the GPUs that a hook gave to a container.

    Only asked for where there is a GPU.
    """
    about = "reload"
    safe = {
        f"Docker's cgroup driver is {facts.cgroup_driver}": facts.cgroup_driver not in {"", "systemd"},
        "CDI gives containers their GPU": facts.is_by_cdi,
        "/dev/char has links to the GPUs": facts.has_device_links,
        "there are CDI specs": facts.is_by_cdi is None and facts.has_cdi_specs,
    }
    for why, is_so in safe.items():
        if is_so:
            return Finding(about, State.OK, f"jobs keep their GPU through systemctl daemon-reload: {why}")
    text = "systemctl daemon-reload (an upgrade of any package may call it) takes running jobs their GPU"
    fix = (
        "sudo nvidia-ctk system create-dev-char-symlinks --create-all, at each boot; or in"
        f' {DAEMON_JSON} "exec-opts": ["native.cgroupdriver=cgroupfs"] and a restart of Docker without jobs'
    )
    return Finding(about, State.WARNING, text, fix)


@dataclass(frozen=True, slots=True)
class Trial:
    """How a trial container ended. `wanted`: what it was to say, write and exit with; `got`: what it did.

    Both by the names `log`, `file`, `exit`. `seconds`: from create to removed.
    """

    wanted: Mapping[str, str]
    got: Mapping[str, str]
    seconds: float


def trial_finding(trial: Trial, folder: str) -> Finding:
    """Whether jobs would run: `folder` is where theirs would be."""
    wrong = [name for name, wanted in trial.wanted.items() if trial.got.get(name) != wanted]
    if not wrong:
        text = f"a test container ran: /files, log and exit code arrive ({trial.seconds:.1f} s)"
        return Finding(_CONTAINER, State.OK, text)
    first = wrong[0]
    said = f"{first} {one_line(trial.got.get(first, '')) or '(nothing)'} in place of {trial.wanted[first]}"
    if first == "exit" or "file" not in wrong:
        text = f"a test container did not do what it was told: {said}"
        log = one_line(trial.got.get("log", ""))
        fix = f"see what Docker says: sudo journalctl -u docker -n 30; the container said: {log}"
        return Finding(_CONTAINER, State.FAILED, text, fix)
    text = f"a test container does not see the files in {folder}, or its own are not seen here"
    fix = "Docker must run on this machine, not in a snap, not as another user: see what `docker info` says"
    return Finding(_CONTAINER, State.FAILED, text, fix)


def refusal_finding(refusal: str) -> Finding:
    """The engine refused to run the test container."""
    fix = "see what Docker says: sudo journalctl -u docker -n 30"
    if re.search("no space left", refusal):
        fix = "make room: docker image ls, docker system df, then docker image rm of what nobody needs"
    elif re.search("cgroup", refusal):
        fix = "Docker and the kernel disagree about cgroups: restart Docker without jobs, then the machine"
    elif re.search("mount|bind source", refusal):
        fix = "Docker must see the machine's own folders: is it a snap, or on another machine (DOCKER_HOST)?"
    return Finding(_CONTAINER, State.FAILED, f"a test container cannot be run: {one_line(refusal)}", fix)
