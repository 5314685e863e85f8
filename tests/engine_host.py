"""A Docker engine and an image registry of the tests' own, beside whatever runs on this machine.

Everything of theirs (socket, data, bridge, containerd's namespace) has a name that nobody else uses, and
all of it is gone after `stop`. dockerd is the distribution's; nothing is downloaded.
"""

import contextlib
import io
import ipaddress
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_START_S = 60.0
_STOP_S = 30.0
_SUBNETS = ipaddress.IPv4Network("172.28.0.0/14")


@dataclass(frozen=True, slots=True)
class Images:
    """Names of the images that the tests' engine has; all of them are made from a static busybox."""

    busybox: str = "decode-test/busybox:1"
    """sh, find, ls, cat, mkdir, head, …; runs as root, no ENTRYPOINT, CMD is a shell."""
    entrypoint: str = "decode-test/entrypoint:1"
    """ENTRYPOINT is `/bin/echo swallowed`."""
    own_command: str = "decode-test/own-command:1"
    """CMD writes `own` to /files/own.txt and exits with 5."""
    user: str = "decode-test/user:1"
    """USER is 1000:1000."""
    volume: str = "decode-test/volume:1"
    """VOLUME is /scratch."""
    no_shell: str = "decode-test/no-shell:1"
    """Holds one file, which is no program."""


IMAGES = Images()

_CHANGES = {
    IMAGES.busybox: ['CMD ["/bin/sh"]'],
    IMAGES.entrypoint: ['ENTRYPOINT ["/bin/echo", "swallowed"]', 'CMD ["by default"]'],
    IMAGES.own_command: ['CMD ["/bin/sh", "-c", "echo own > /files/own.txt; exit 5"]'],
    IMAGES.user: ["USER 1000:1000", 'CMD ["/bin/sh"]'],
    IMAGES.volume: ["VOLUME /scratch", 'CMD ["/bin/sh"]'],
}


def why_no_engine() -> str | None:
    """Why no engine can be started here; None: it can."""
    if os.geteuid() != 0:
        return "starting a Docker engine needs root"
    missing = [name for name in ("dockerd", "docker", "busybox", "ip") if not _which(name)]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: docker.io busybox-static iproute2)"
    return None


def why_no_registry() -> str | None:
    """Why no registry can be started here; None: it can."""
    return None if _which("docker-registry") else "not installed: docker-registry"


class Dockerd:
    """One dockerd with its folder, socket and bridge; `start` before use, `stop` at the end.

    `path_prefix`: a folder in front of dockerd's PATH, for a stand-in `nvidia-container-runtime-hook`.
    `config` is its daemon.json, read at each `start`.
    """

    def __init__(self, path_prefix: Path | None = None, config: Mapping[str, object] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="decode-dockerd-"))
        self.socket = self.folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._mark = secrets.token_hex(4)
        self._bridge = f"dec{self._mark}"
        self._process: subprocess.Popen[bytes] | None = None
        self._has_bridge = False
        (self.folder / "config").mkdir()
        self.configure(config or {})
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        self._env = os.environ | {
            "PATH": f"{path_prefix}:{path}" if path_prefix else path,
            "DOCKER_CONFIG": str(self.folder / "config"),
        }

    def configure(self, config: Mapping[str, object]) -> None:
        """Write its daemon.json, which counts from the next `start` on."""
        (self.folder / "daemon.json").write_text(json.dumps(config))

    def start(self) -> None:
        """Start it, and return when it answers."""
        if not self._has_bridge:
            self._add_bridge()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*ending_with_us(), *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )
        _wait_until(self._answers, _START_S, self._why_not)

    def _command(self) -> list[str]:
        folder = self.folder
        return [
            *("dockerd", "--config-file", f"{folder}/daemon.json", "--host", self.url),
            *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"),
            *("--bridge", self._bridge, "--iptables=false", "--ip6tables=false", "--ip-masq=false"),
            *("--ip-forward=false", "--containerd-namespace", f"decode-{self._mark}"),
            *("--containerd-plugins-namespace", f"decode-{self._mark}-plugins"),
        ]

    def _add_bridge(self) -> None:
        for _ in range(20):
            subnet = random.choice(list(_SUBNETS.subnets(new_prefix=24)))
            taken = _output("ip", "-o", "addr")
            if str(subnet.network_address).rpartition(".")[0] + "." not in taken:
                break
        _output("ip", "link", "add", "name", self._bridge, "type", "bridge")
        self._has_bridge = True
        _output("ip", "addr", "add", f"{subnet[1]}/24", "dev", self._bridge)
        _output("ip", "link", "set", self._bridge, "up")

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(self._why_not())
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(64)
            except OSError:
                return False

    def _why_not(self) -> str:
        tail = (self.folder / "log").read_text(errors="replace")[-3000:]
        return f"dockerd does not answer; the end of its log:\n{tail}"

    def docker(self, *args: str, check: bool = True, stdin: bytes | None = None) -> str:
        """Run Docker's command line against it; its output, stripped."""
        done = subprocess.run(
            ["docker", "--host", self.url, *args],
            input=stdin,
            capture_output=True,
            env=self._env,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {' '.join(args)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace").strip()

    def import_images(self) -> None:
        """Make all of `IMAGES`."""
        rootfs = _busybox_rootfs()
        for name, changes in _CHANGES.items():
            options = [word for change in changes for word in ("--change", change)]
            self.docker("import", *options, "-", name, stdin=rootfs)
        self.docker("import", "-", IMAGES.no_shell, stdin=_tar({"readme": (b"no program\n", 0o644)}))

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """Freeze it: connections are accepted by the kernel, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """Have it read its configuration again, and return when it has."""
        said = len(self._log_of_reloads())
        self._signal(signal.SIGHUP)
        _wait_until(lambda: len(self._log_of_reloads()) > said, _START_S, self._why_not)

    def _log_of_reloads(self) -> list[str]:
        return [line for line in (self.folder / "log").read_text().splitlines() if "Reloaded conf" in line]

    def restart(self) -> None:
        """Stop it in good order (which ends its containers) and start it."""
        self.end(signal.SIGTERM)
        self.start()

    def end(self, number: signal.Signals) -> None:
        """End the daemon; after SIGKILL its containers are left, to be found by the next `start`."""
        if self._process is None:
            return
        self._signal(number)
        if number is not signal.SIGKILL:
            self._signal(signal.SIGCONT)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        # A containerd that dies along, but later, makes the next dockerd wait for it in vain.
        _kill_all_about(f"{self.folder}/exec/containerd/containerd.toml")
        (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.is_running:
            self._process.send_signal(number)

    def remove_containers(self) -> None:
        """Remove every container that it has."""
        if names := self.docker("ps", "--all", "--quiet", check=False).split():
            self.docker("rm", "--force", "--volumes", *names, check=False)

    def stop(self) -> None:
        """End it with all that it started, and remove every trace of it."""
        self.resume()
        if self.is_running:
            self.remove_containers()
        self.end(signal.SIGTERM)
        _kill_all_about(str(self.folder))
        _kill_all_about(f"decode-{self._mark}")
        _unmount_below(self.folder)
        if self._has_bridge:
            subprocess.run(["ip", "link", "delete", self._bridge], env=self._env, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Registry:
    """An image registry on loopback, which every dockerd trusts without TLS."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="decode-registry-"))
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._port = server.getsockname()[1]
        self.host = f"127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        config = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": f"{self.folder}/data"}},
            "http": {"addr": self.host},
        }
        (self.folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*ending_with_us(), "docker-registry", "serve", f"{self.folder}/config.yml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _wait_until(self._answers, _START_S, lambda: f"{self.host} does not answer")

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False

    def push(self, dockerd: Dockerd, image: str, name: str) -> str:
        """Push an image that the engine has; returns its name in this registry."""
        full = f"{self.host}/{name}"
        dockerd.docker("tag", image, full)
        dockerd.docker("push", full)
        dockerd.docker("rmi", full)
        return full

    def pause(self) -> None:
        """Freeze it: transfers stall."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Stop it; `start` brings it back with what it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop it and remove what it holds."""
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


_FREEZER = Path("/sys/fs/cgroup/freezer")  # of cgroup v1: that of v2 lets SIGKILL through


def why_no_freezer() -> str | None:
    """Why no container can be frozen here so that SIGKILL does not end it; None: it can."""
    return None if _FREEZER.is_dir() else "needs the freezer of cgroup v1"


@contextlib.contextmanager
def frozen(dockerd: Dockerd, name: str) -> Iterator[None]:
    """Until the block ends the container's processes are as if in state D; Docker does not know.

    They sit in a cgroup below the container's own, which runc thaws before it sends SIGKILL.
    """
    pid = dockerd.docker("inspect", "--format", "{{.State.Pid}}", name)
    groups = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    (group,) = [path for _, controllers, path in groups if controllers == "freezer"]
    outer = _FREEZER / group.lstrip("/")
    inner = outer / "held"
    inner.mkdir()
    try:
        while pids := (outer / "cgroup.procs").read_text().split():
            for each in pids:
                with contextlib.suppress(OSError):  # it has just ended
                    (inner / "cgroup.procs").write_text(each)
        (inner / "freezer.state").write_text("FROZEN")
        is_frozen = lambda: (inner / "freezer.state").read_text() == "FROZEN\n"  # noqa: E731
        _wait_until(is_frozen, _START_S, lambda: f"{name} does not freeze")
        yield
    finally:
        (inner / "freezer.state").write_text("THAWED")


def tar_of_noise(size_bytes: int) -> bytes:
    """The filesystem of an image that no compression makes smaller."""
    return _tar({"noise": (random.randbytes(size_bytes), 0o644)})


def _busybox_rootfs() -> bytes:
    program = Path(str(_which("busybox"))).read_bytes()
    files = {
        "bin/busybox": (program, 0o755),
        "etc/passwd": (b"root:x:0:0::/root:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n", 0o644),
        "etc/group": (b"root:x:0:\nworker:x:1000:\n", 0o644),
    }
    applets = [name for name in _output("busybox", "--list").split() if name != "busybox"]
    return _tar(
        files, folders={"tmp": 0o1777, "root": 0o700}, links={f"bin/{name}": "busybox" for name in applets}
    )


def _tar(
    files: dict[str, tuple[bytes, int]],
    folders: dict[str, int] | None = None,
    links: dict[str, str] | None = None,
) -> bytes:
    """An archive of root's; files are content and mode, links are symbolic."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, mode in (folders or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return stream.getvalue()


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def ending_with_us() -> list[str]:
    """What makes a process end even if the tests are killed; the kernel means the thread that started it."""
    is_main = threading.current_thread() is threading.main_thread()
    return ["setpriv", "--pdeathsig", "TERM"] if is_main and _which("setpriv") else []


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def _wait_until(is_so: Callable[[], bool], timeout_s: float, why_not: Callable[[], str]) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(why_not())
        time.sleep(0.05)


def _kill_all_about(word: str) -> None:
    """Kill the processes (containerd, its shims) whose command line holds a word that is ours alone."""
    for _ in range(3):
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if int(entry.parent.name) != os.getpid() and word.encode() in entry.read_bytes():
                    os.kill(int(entry.parent.name), signal.SIGKILL)
        time.sleep(0.05)


def _unmount_below(folder: Path) -> None:
    mounts = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounts if place.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False)
