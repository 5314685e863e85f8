"""Debian root file systems for the test hosts, made by debootstrap, kept outside the repository."""

import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

MAKING_TIMEOUT_S = 1200


class Kind(StrEnum):
    """The releases of Debian that the agent runs on."""

    BOOKWORM = "bookworm"
    TRIXIE = "trixie"


@dataclass(frozen=True, slots=True)
class Equipment:
    """What is on a host before anything of ours is; `only`: what one release has under its own name."""

    name: str
    packages: tuple[str, ...]
    only: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)

    def packages_on(self, kind: Kind) -> tuple[str, ...]:
        """The Debian packages for that release."""
        return (*self.packages, *self.only.get(kind, ()))


BOOTABLE = ("systemd", "systemd-sysv", "dbus", "ca-certificates", "sudo", "procps")

# "Nothing but Debian and git": no Python, no Docker, no ip.
BARE = Equipment("bare", (*BOOTABLE, "git"))

# What a lab's workstation has: Python, pipx, Docker. curl and iproute2 are for what tests do on it.
WORKSTATION = Equipment(
    "workstation",
    (*BOOTABLE, "git", "python3", "python3-venv", "pipx", "docker.io", "iptables", "curl", "iproute2"),
    {Kind.TRIXIE: ("docker-cli",)},
)


def cache_folder() -> Path:
    """Where this project keeps what is expensive to make, as `packaging/demo/build_image.py` chooses it."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    fallback = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    return (Path(chosen) if chosen else fallback) / "decode-agent"


def make(kind: Kind, equipment: Equipment, tarball: Path) -> None:
    """Bootstrap the release and pack it; the tarball appears whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=f".{kind}-", dir=tarball.parent) as scratch:
        root, part, log = (Path(scratch) / name for name in ("root", "tar", "log"))
        packages = ",".join(equipment.packages_on(kind))
        commands: list[list[str | Path]] = [
            ["debootstrap", "--variant=minbase", f"--include={packages}", kind, root],
            [
                "tar",
                "-C",
                root,
                "--numeric-owner",
                "--exclude=./var/cache/apt/archives/*.deb",
                "-cf",
                part,
                ".",
            ],
        ]
        with log.open("wb") as output:
            for command in commands:
                done = subprocess.run(
                    command, stdout=output, stderr=subprocess.STDOUT, timeout=MAKING_TIMEOUT_S, check=False
                )
                if done.returncode:
                    end = log.read_text(errors="replace")[-1500:]
                    raise RuntimeError(f"{command[0]} {kind} failed with {done.returncode}:\n{end}")
        part.replace(tarball)


def tarball_of(kind: Kind, equipment: Equipment) -> Path:
    """The root file system as a tarball, made now if the cache has none; two makers wait for each other."""
    folder = cache_folder() / "hosts"
    folder.mkdir(parents=True, exist_ok=True)
    version = hashlib.sha256(" ".join(equipment.packages_on(kind)).encode()).hexdigest()[:8]
    tarball = folder / f"{kind}-{equipment.name}-{version}.tar"
    with (folder / f".{kind}-{equipment.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tarball.exists():
            for outdated in folder.glob(f"{kind}-{equipment.name}-*.tar"):
                outdated.unlink()
            make(kind, equipment, tarball)
    return tarball
