"""Whole Debian hosts, booted with systemd in a container of a Docker engine that the tests own.

    with HostEngine() as engine, Host.boot(Kind.TRIXIE, BARE, engine.url) as host:
        host.run("systemctl --failed")

How such a container has to be started was found by trying; odd options have their reason beside them.
"""

import io
import os
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.host_rootfs import BARE, WORKSTATION, Equipment, Kind, tarball_of

__all__ = ["BARE", "WORKSTATION", "Equipment", "Host", "Kind"]

BOOT_TIMEOUT_S, DOCKER_TIMEOUT_S = 90, 300
LABEL = "decode-agent.test-host"
EXTRA_CERTIFICATES = Path("/usr/local/share/ca-certificates")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PIP_SETTINGS = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_PROXY",
    "PIP_DEFAULT_TIMEOUT",
)

CONTAINER_OPTIONS = [
    # Not --privileged: it fails where the machine itself lacks SYS_RESOURCE.
    "--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined", "--security-opt=systempaths=unconfined",
    "--tmpfs=/run", "--tmpfs=/tmp:exec", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw", "--cgroupns=host",
    "--env=container=docker",
    # NVIDIA's devices may be opened, if a test makes their nodes: no driver answers.
    "--device-cgroup-rule=c 195:* rwm",
    # systemd 257 refuses a machine with cgroup v1 unless told so on its command line.
    "--env=SYSTEMD_PROC_CMDLINE=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.unified_cgroup_hierarchy=0",
]  # fmt: skip
# Shared mounts are what lets LoadCredential= work in the host's services.
INIT = ["/bin/sh", "-c", "mount --make-rshared /; exec /sbin/init"]


class Host:
    """A booted host; leaving the `with` block removes it and its volumes."""

    def __init__(self, name: str, kind: Kind, docker_host: str) -> None:
        self.name, self.kind = name, kind
        self._docker = ["docker", "--host", docker_host]

    @classmethod
    def boot(cls, kind: Kind, equipment: Equipment, docker_host: str, *, systemd: bool = True) -> Self:
        """A host of that kind whose systemd has come up; RuntimeError with its log if it does not.

        Without `systemd` nothing runs on it but a process that waits.
        """
        image = cls._image_of(kind, equipment, docker_host)
        host = cls(f"decode-host-{kind}-{uuid.uuid4().hex[:8]}", kind, docker_host)
        options = [
            *CONTAINER_OPTIONS,
            *(f"--env={name}={os.environ[name]}" for name in PROXIES if name in os.environ),
        ]
        if Path("/sys/fs/cgroup/cgroup.controllers").exists():
            options = [option for option in options if "SYSTEMD_PROC_CMDLINE" not in option]
        # The volume gives the host's own Docker a file system that overlay2 can lie on.
        options.append("--volume=/var/lib/docker")
        try:
            marks = ["--detach", f"--name={host.name}", f"--label={LABEL}", f"--hostname={kind}"]
            host._ask("run", *marks, *options, image, *(INIT if systemd else ["sleep", "infinity"]))
            if systemd:
                host._await_boot()
            host._connect()
        except BaseException:
            host.remove()
            raise
        return host

    @staticmethod
    def _image_of(kind: Kind, equipment: Equipment, docker_host: str) -> str:
        """The name of the host's image in that engine, imported if it is not there."""
        tarball = tarball_of(kind, equipment)
        image = f"decode-test-host:{tarball.stem}"
        docker = ["docker", "--host", docker_host]
        if subprocess.run([*docker, "image", "inspect", image], capture_output=True, check=False).returncode:
            subprocess.run(
                [*docker, "import", str(tarball), image],
                capture_output=True,
                timeout=DOCKER_TIMEOUT_S,
                check=True,
            )
        return image

    def _await_boot(self) -> None:
        """Wait for systemd; a host where some unit failed has booted too."""
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        state = ""
        while state not in {"running", "degraded"}:
            if time.monotonic() > deadline:
                log = self._ask("logs", "--tail", "40", self.name, check=False).stdout
                raise RuntimeError(f"{self.name} did not boot, systemd says {state or 'nothing'}:\n{log}")
            time.sleep(0.3)
            asked = ["exec", self.name, "systemctl", "is-system-running"]
            state = self._ask(*asked, check=False).stdout.strip()

    def _connect(self) -> None:
        """Give the host what the machine reaches package registries with: certificates, pip's settings."""
        certificates = sorted(EXTRA_CERTIFICATES.glob("*.crt")) if EXTRA_CERTIFICATES.is_dir() else []
        for certificate in certificates:
            self.write(EXTRA_CERTIFICATES / certificate.name, certificate.read_bytes())
        lines = [
            f"{name.removeprefix('PIP_').lower().replace('_', '-')} = {os.environ[name]}"
            for name in PIP_SETTINGS
            if os.environ.get(name, "file:").find("file:") < 0
        ]
        if certificates:
            self.run("update-ca-certificates")
            lines.append("cert = /etc/ssl/certs/ca-certificates.crt")
        if lines:
            # In a file, not the environment: sudo clears that.
            self.write(Path("/etc/pip.conf"), "\n".join(["[global]", *lines, ""]).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def run(
        self,
        command: str,
        *,
        user: str = "root",
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command in a login-like shell of the user; RuntimeError with its output if it fails.

        A command that takes longer than the timeout (s) raises subprocess.TimeoutExpired and may run on.
        """
        settings = [f"--env={name}={value}" for name, value in (env or {}).items()]
        words = ["exec", f"--user={user}", *settings, self.name, "/bin/bash", "-c", f"cd; {command}"]
        return self._ask(*words, check=check, timeout=timeout)

    def write(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        """Put a file of root's there, and the folders above it."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            member = tarfile.TarInfo(str(path).lstrip("/"))
            member.size, member.mode, member.mtime = len(content), mode, int(time.time())
            archive.addfile(member, io.BytesIO(content))
        self._unpack(packed.getvalue(), Path("/"))

    def copy_in(self, source: Path, folder: Path, names: Iterable[str] | None = None) -> None:
        """Copy a folder's contents, or only those names below it, to a folder of the host, owned by root."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in names if names is not None else sorted(path.name for path in source.iterdir()):
                archive.add(source / name, arcname=name, filter=as_root)
        self.run(f"mkdir -p {folder}")
        self._unpack(packed.getvalue(), folder)

    def copy_out(self, path: Path, folder: Path) -> None:
        """Copy a file or folder of the host into a folder here."""
        self._ask("cp", f"{self.name}:{path}", str(folder))

    def remove(self) -> None:
        """Remove the host and its volumes, whatever it is doing."""
        self._ask("rm", "--force", "--volumes", self.name, check=False)

    def _unpack(self, archive: bytes, folder: Path) -> None:
        """Unpack a tar archive inside; `docker cp` would not see what is mounted there, such as /tmp."""
        command = [*self._docker, "exec", "--interactive", self.name, "tar", "-C", str(folder), "-x"]
        subprocess.run(command, input=archive, capture_output=True, timeout=DOCKER_TIMEOUT_S, check=True)

    def _ask(
        self, *words: str, check: bool = True, timeout: float = DOCKER_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """The Docker client's answer; RuntimeError with what it wrote if it fails."""
        done = subprocess.run(
            [*self._docker, *words], capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            shown = f"{done.stdout[-3000:]}{done.stderr[-3000:]}".strip()
            raise RuntimeError(f"{self.name}: {words[-1]!r} ended with {done.returncode}:\n{shown}")
        return done


def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The archive's member with root as owner."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
