"""What is made of clock, disks, updates and proxies."""

from pathlib import Path

import pytest

from agent.core.doctor_host import (
    ClockFacts,
    Disk,
    clock_finding,
    disk_finding,
    file_system_finding,
    needrestart_finding,
    needrestart_override,
    proxies_in,
    proxy_finding,
    upgrade_findings,
    without_password,
)
from agent.core.findings import Repair, State

GIB = 1024**3
SHIPPED = Path(__file__).parents[3] / "systemd/decode-agent.needrestart"


@pytest.mark.parametrize(
    ("ahead_s", "is_kept", "can_be_kept", "state", "text", "repair"),
    [
        (0.4, True, True, State.OK, "agrees", None),
        (-30, None, None, State.OK, "agrees", None),
        (31.4, True, True, State.OK, "agrees", None),
        (60, True, True, State.WARNING, "58 s ahead of", Repair.SYNC_CLOCK),
        (-60, None, None, State.WARNING, "58 s behind", Repair.SYNC_CLOCK),
        (-302, True, True, State.WARNING, "300 s behind", Repair.SYNC_CLOCK),
        (303, True, True, State.FAILED, "301 s ahead of", Repair.SYNC_CLOCK),
        (0, False, True, State.WARNING, "nothing keeps it right", Repair.SYNC_CLOCK),
        (0, False, False, State.WARNING, "nothing keeps it right", None),
        (900, False, False, State.FAILED, "898 s ahead of", None),
    ],
)
def test_clock(ahead_s, is_kept, can_be_kept, state, text, repair):
    """More than 30 s, certainly, is a warning; more than 5 min a failure, for tokens are refused."""
    found = clock_finding(ClockFacts(ahead_s, 2.0, is_kept, can_be_kept))
    assert (found.state, text in found.text, found.repair) == (state, True, repair)
    assert bool(found.fix) == (state is not State.OK)


@pytest.mark.parametrize(
    ("free_gib", "min_gib", "state", "text"),
    [
        (212, 10, State.OK, "212 GiB of 900 GiB free"),
        (20, 10, State.OK, "20 GiB of"),
        (19.9, 10, State.WARNING, "20 GiB of"),
        (10, 10, State.WARNING, "10 GiB of"),
        (9.9, 10, State.FAILED, "9.9 GiB of 900 GiB free, no job is taken (MIN_FREE_DISK_GIB=10)"),
        (99, 50, State.WARNING, "99 GiB of"),
        (100, 50, State.OK, "100 GiB of"),
        (2, 0, State.WARNING, "2.0 GiB of"),
        (1.9, 0, State.FAILED, "1.9 GiB of"),
    ],
)
def test_disk(free_gib, min_gib, state, text):
    """Less than the setting, or 2 GiB, is a failure; less than twice the setting, or 20 GiB, a warning."""
    disk = Disk(("state /s", "images /d"), "/dev/sda2", "ext4", int(free_gib * GIB), 900 * GIB)
    found = disk_finding(disk, min_gib)
    assert found.state is state
    assert found.text.startswith("state /s and images /d on /dev/sda2 (ext4): ")
    assert text in found.text


def test_file_system():
    """A file system that changes names or permissions is a failure."""
    assert file_system_finding("/j", ()).state is State.OK
    assert file_system_finding("/j", ("does not keep permissions",)).state is State.FAILED


@pytest.mark.parametrize(
    ("installed", "override", "state", "repair"),
    [
        (False, False, State.OK, None),
        (True, True, State.OK, None),
        (True, False, State.WARNING, Repair.WRITE_NEEDRESTART),
    ],
)
def test_needrestart(installed, override, state, repair):
    """Only needrestart without our file is worth a word."""
    found = needrestart_finding(is_installed=installed, has_override=override)
    assert (found.state, found.repair) == (state, repair)


def test_needrestart_override_is_the_shipped_one():
    """What --fix writes is what install.sh writes: neither finds something to change in the other's."""
    assert needrestart_override() == SHIPPED.read_text()


ON = 'APT::Periodic::Unattended-Upgrade "1";\n'
REBOOT = 'Unattended-Upgrade::Automatic-Reboot "true";\n'
HELD = 'Unattended-Upgrade::Package-Blacklist "";\nUnattended-Upgrade::Package-Blacklist:: "nvidia";\n'


@pytest.mark.parametrize(
    ("apt", "has_gpu", "parts"),
    [
        ("", True, []),
        ('APT::Periodic::Unattended-Upgrade "0";\n' + REBOOT, True, []),
        (ON, False, []),
        (ON, True, ["may update NVIDIA's driver"]),
        (ON + HELD, True, []),
        (ON + HELD + REBOOT, True, ["may restart the machine"]),
        (ON + REBOOT, True, ["may restart the machine", "may update NVIDIA's driver"]),
    ],
)
def test_unattended_upgrades(apt, has_gpu, parts):
    """They are welcome, but for a driver that changes under running jobs, and a boot at night."""
    found = list(upgrade_findings(apt, has_gpu=has_gpu))
    assert len(found) == len(parts)
    assert all(part in one.text for part, one in zip(parts, found, strict=True))
    assert all(one.state is State.WARNING for one in found)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://lab:secret@proxy:3128", "http://…@proxy:3128"),
        ("lab:secret@proxy:3128", "…@proxy:3128"),
        ("http://proxy:3128/", "http://proxy:3128/"),
        ("proxy:3128", "proxy:3128"),
        ("http://u:p@[", "http://…@["),
    ],
)
def test_a_proxy_without_its_password(url, shown):
    """No secret of a proxy is shown."""
    assert without_password(url) == shown


def test_proxies_of_an_environment():
    """Small letters win; what is empty is not set."""
    environ = {"HTTPS_PROXY": "http://a", "https_proxy": "http://u:p@b", "HTTP_PROXY": "", "NO_PROXY": "x"}
    assert proxies_in(environ) == {"HTTPS_PROXY": "http://…@b", "NO_PROXY": "x"}


P, Q = {"HTTPS_PROXY": "http://p:1"}, {"HTTPS_PROXY": "http://q:1/"}


@pytest.mark.parametrize(
    ("own", "service", "docker", "state", "text"),
    [
        ({}, {}, {}, State.OK, "none is set (the service, Docker)"),
        (P, P, P, State.OK, "http://p:1 (the service, Docker, this shell)"),
        (P, {"HTTPS_PROXY": "http://p:1/"}, P, State.OK, "http://p:1"),
        ({}, P, P, State.OK, "http://p:1 (the service, Docker)"),
        (P, {}, {}, State.WARNING, "the service: none; Docker: none; this shell: http://p:1"),
        ({}, P, {}, State.WARNING, "the service: http://p:1; Docker: none"),
        ({}, {}, P, State.WARNING, "Docker: http://p:1"),
        ({}, P, Q, State.WARNING, "Docker: http://q:1"),
        (P, None, None, State.OK, "http://p:1 (this shell)"),
        ({}, None, None, State.OK, "none is set (this shell)"),
        (P, None, {}, State.WARNING, "Docker: none; this shell: http://p:1"),
    ],
)
def test_proxies(own, service, docker, state, text):
    """The service and Docker have to go one way; sudo's shell counts only if it has a proxy."""
    found = proxy_finding(own, service, docker)
    assert (found.state, text in found.text) == (state, True)
