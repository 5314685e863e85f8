"""A Docker engine of the tests' own, with a network that reaches outside, that leaves nothing behind.

It shares the machine with other engines: its bridge, its rules and its folders are its own and are taken away
again. The engine is kept from writing firewall rules, as starting it would flush those of every other engine.
"""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT_S, STOP_TIMEOUT_S = 60, 40


class HostEngine:
    """A running dockerd; `url` is where it answers."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="decode-hosts-"))
        self.bridge = f"dec{self.folder.name[-8:]}"
        self.url = f"unix://{self.folder}/docker.sock"
        self._rules: list[list[str]] = []
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        """Start the daemon and wait for its answer; RuntimeError with the end of its log if there is none."""
        (self.folder / "daemon.json").write_text("{}")
        run("ip", "link", "add", self.bridge, "type", "bridge")
        command = [
            "dockerd", f"--config-file={self.folder}/daemon.json", f"--host={self.url}",
            f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec",
            f"--pidfile={self.folder}/pid", f"--bridge={self.bridge}", "--iptables=false", "--ip-masq=false",
        ]  # fmt: skip
        log = self.folder / "log"
        with log.open("wb") as output:
            self._daemon = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._ask("version", check=False).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        self._let_out()

    def _let_out(self) -> None:
        """Forward and masquerade what comes from the bridge."""
        address = run("ip", "-4", "-o", "addr", "show", "dev", self.bridge)
        found = re.search(r"inet (\S+)", address)
        if not found:
            raise RuntimeError(f"the bridge {self.bridge} got no address: {address}")
        for rule in (
            ["-t", "nat", "-I", "POSTROUTING", "-s", found[1], "!", "-o", self.bridge, "-j", "MASQUERADE"],
            ["-I", "FORWARD", "-i", self.bridge, "-j", "ACCEPT"],
            ["-I", "FORWARD", "-o", self.bridge, "-j", "ACCEPT"],
        ):
            run("iptables", "--wait", *rule)
            self._rules.append(["-D" if word == "-I" else word for word in rule])

    def _ask(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The Docker client's answer from this engine."""
        return subprocess.run(
            ["docker", "--host", self.url, *words], capture_output=True, text=True, timeout=120, check=check
        )

    def stop(self) -> None:
        """Remove what runs in it, end the daemon, and take away bridge, rules, mounts and folders."""
        if self._daemon and self._daemon.poll() is None:
            left = self._ask("ps", "--all", "--quiet", check=False).stdout.split()
            if left:
                self._ask("rm", "--force", "--volumes", *left, check=False)
            self._daemon.terminate()
            try:
                self._daemon.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()
        for rule in self._rules:
            run("iptables", "--wait", *rule, check=False)
        self._rules.clear()
        run("ip", "link", "delete", self.bridge, check=False)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.folder}/"):
                run("umount", "--lazy", line.split()[1], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def run(*command: str, check: bool = True) -> str:
    """The standard output of a short command; RuntimeError with its complaint if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
