"""The tests' own Docker engine with a network that reaches outside, for hosts that install packages.

The engine itself writes no firewall rules (starting one that does flushes those of every other engine), so
the few that let its bridge out are made here, and are taken away again.
"""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.engine_host import Dockerd

BRIDGE_AND_SUBNET = '{{index .Options "com.docker.network.bridge.name"}} {{(index .IPAM.Config 0).Subnet}}'
GATEWAY = "{{(index .IPAM.Config 0).Gateway}}"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class HostEngine:
    """An engine for the length of a `with` block; `url` is where it answers."""

    def __init__(self) -> None:
        self._dockerd = Dockerd()
        self._rules: list[list[str]] = []
        self.url = self._dockerd.url
        self.gateway = ""
        """This machine's address, as its hosts see it."""

    def __enter__(self) -> Self:
        try:
            self._dockerd.start()
            self._let_out()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _let_out(self) -> None:
        """Forward and masquerade what comes from the bridge."""
        asked = self._dockerd.docker("network", "inspect", "bridge", "--format", BRIDGE_AND_SUBNET)
        bridge, subnet = asked.split()
        self.gateway = self._dockerd.docker("network", "inspect", "bridge", "--format", GATEWAY)
        FORWARDING.write_text("1")  # and left so: another engine may have come to need it
        for rule in (
            ["-t", "nat", "-I", "POSTROUTING", "-s", subnet, "!", "-o", bridge, "-j", "MASQUERADE"],
            ["-I", "FORWARD", "-i", bridge, "-j", "ACCEPT"],
            ["-I", "FORWARD", "-o", bridge, "-j", "ACCEPT"],
        ):
            iptables(*rule)
            self._rules.append(["-D" if word == "-I" else word for word in rule])

    def stop(self) -> None:
        """End the engine with all that runs in it, and take the rules away."""
        self._dockerd.stop()
        for rule in self._rules:
            iptables(*rule)
        self._rules.clear()


def iptables(*words: str) -> None:
    """Change the firewall; RuntimeError with its complaint if it does not."""
    done = subprocess.run(["iptables", "--wait", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"iptables {' '.join(words)}: {done.stderr.strip()}")
