"""What /proc and the cgroups say of a container, on stand-ins of both."""

import os
import time

import pytest

from agent.adapters import docker_engine_machine as machine

ID = "abc123"
TICKS = os.sysconf("SC_CLK_TCK")


def details(pid=77, container_id=ID):
    return {"Id": container_id, "State": {"Pid": pid, "Running": True}}


@pytest.fixture
def proc(tmp_path):
    """A process of the container that began when this machine did, with a name made to mislead."""
    folder = tmp_path / "proc" / "77"
    folder.mkdir(parents=True)
    fields = ["S", *["0"] * 18, "500", "9999"]
    (folder / "stat").write_text(f"77 (sh) 1 (2) {' '.join(fields)}\n")
    (folder / "cgroup").write_text(f"5:cpu,cpuacct:/docker/{ID}\n0::/docker/{ID}\n")
    return tmp_path / "proc"


def test_the_age_is_counted_from_the_start_of_its_process(proc):
    """In ticks since the machine's start, whatever the process calls itself."""
    before = time.monotonic()
    age_s = machine.age_of(details(), proc=proc)
    assert before - 500 / TICKS <= age_s <= time.monotonic() - 500 / TICKS


def test_a_start_that_lies_ahead_is_age_nought(proc):
    """Ticks count the time asleep, the clock that does not jump leaves it out."""
    text = (proc / "77" / "stat").read_text().replace(" 500 ", f" {int((time.monotonic() + 1e6) * TICKS)} ")
    (proc / "77" / "stat").write_text(text)
    assert machine.age_of(details(), proc=proc) == 0.0


@pytest.mark.parametrize(
    "about", [{}, details(0), details(78), details(container_id="other"), details(77, "")]
)
def test_a_process_that_is_not_the_containers_tells_nothing(proc, about, tmp_path):
    """It may be another machine's, behind a socket that was carried here."""
    assert machine.age_of(about, proc=proc) is None
    assert machine.cpu_s_of(about, proc=proc, cgroups=tmp_path) is None


@pytest.mark.parametrize("text", ["", "77 (sh)", "77 (sh) S x", "nonsense"])
def test_nonsense_tells_nothing(proc, text):
    (proc / "77" / "stat").write_text(text)
    assert machine.age_of(details(), proc=proc) is None


def test_cpu_is_read_from_cgroup_v1(proc, tmp_path):
    folder = tmp_path / "cgroup" / "cpuacct" / "docker" / ID
    folder.mkdir(parents=True)
    (folder / "cpuacct.usage").write_text("2500000000\n")
    assert machine.cpu_s_of(details(), proc=proc, cgroups=tmp_path / "cgroup") == 2.5


def test_cpu_is_read_from_cgroup_v2(proc, tmp_path):
    (proc / "77" / "cgroup").write_text(f"0::/system.slice/docker-{ID}.scope\n")
    folder = tmp_path / "cgroup" / "system.slice" / f"docker-{ID}.scope"
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n")
    assert machine.cpu_s_of(details(), proc=proc, cgroups=tmp_path / "cgroup") == 1.5


@pytest.mark.parametrize("text", ["", "nonsense\n", "usage_usec\n"])
def test_a_cgroup_without_numbers_tells_nothing(proc, tmp_path, text):
    (proc / "77" / "cgroup").write_text(f"0::/{ID}\n")
    (tmp_path / ID).mkdir()
    (tmp_path / ID / "cpu.stat").write_text(text)
    assert machine.cpu_s_of(details(), proc=proc, cgroups=tmp_path) is None


def test_the_boot_has_a_name():
    assert len(machine.boot_id()) == 36
    assert machine.boot_id() == machine.boot_id()


def test_a_boot_that_is_not_told_has_none(tmp_path):
    assert machine.boot_id(tmp_path) == ""


def test_only_a_unix_socket_can_be_of_this_machine():
    assert machine.is_local("unix:///var/run/docker.sock")
    assert not machine.is_local("tcp://127.0.0.1:2375")
