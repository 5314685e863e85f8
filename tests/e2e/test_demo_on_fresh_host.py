"""The README's promise: nothing but Debian and git, one command, a job through its whole life."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.hosts import BARE, Host, Kind

pytestmark = [pytest.mark.host, pytest.mark.docker]

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = re.compile(r"docker|containerd|runc|tini|python|decode|mock_api")
DEMO_TIMEOUT_S = 600


def files_of_the_repository():
    """What a commit of the work tree would hold, so that a test sees what is being worked on."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [name for name in sorted(set(listed.stdout.split("\0"))) if name and (REPOSITORY / name).is_file()]


@pytest.fixture(params=list(Kind), ids=str)
def fresh_host(request, host_engine):
    """A booted host with an administrator who has cloned the repository."""
    with Host.boot(request.param, BARE, host_engine.url) as host:
        host.run("useradd --create-home --shell /bin/bash admin")
        host.write(Path("/etc/sudoers.d/admin"), b"admin ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
        host.copy_in(REPOSITORY, Path("/home/admin/upstream"), files_of_the_repository())
        host.run("chown -R admin: /home/admin")
        commit = "git -c user.name=x -c user.email=x@example.com commit -q -m all"
        host.run(f"cd upstream && git init -q && git add -A && {commit}", user="admin")
        host.run("git clone -q upstream decode-agent", user="admin")
        yield host


def leftovers(host):
    """What a demo could leave behind: processes, mounts, network links, folders of a run."""
    processes = host.run("ps -e -o args=").stdout.splitlines()
    return {
        "processes": [line for line in processes if OURS.search(line) and " ps -e" not in line],
        "mounts": host.run("grep decode-agent /proc/mounts", check=False).stdout,
        "links": host.run("ls /sys/class/net | grep decode", check=False).stdout,
        "folders": host.run("ls -d /var/cache/decode-agent/demo.????????", check=False).stdout,
        "changes": host.run("cd decode-agent && git status --porcelain", user="admin").stdout,
    }


def run_demo(host):
    """The demo's output and how long it took (s)."""
    began = time.monotonic()
    done = host.run("cd decode-agent && sudo ./install.sh --demo", user="admin", timeout=DEMO_TIMEOUT_S)
    return done.stdout, time.monotonic() - began


def test_one_command_on_a_bare_machine_takes_a_job_through_its_life_twice(fresh_host, tell):
    """Exit 0, `finished`, outputs that hold what was simulated, nothing left running; then the same again."""
    before = leftovers(fresh_host)
    seconds = []
    for _ in range(2):
        said, took = run_demo(fresh_host)
        seconds.append(took)
        assert "Verdict: finished" in said
        found, of, rmse_nm = re.search(
            r"found (\d+) of (\d+) dye images[\s\S]*RMSE ([\d.]+) nm", said
        ).groups()
        assert int(found) > 0.5 * int(of)
        assert float(rmse_nm) < 25
        assert leftovers(fresh_host) == before
    tell(f"{fresh_host.kind}: first {seconds[0]:.0f} s, second {seconds[1]:.0f} s, RMSE {rmse_nm} nm")
    owned_by_caller(fresh_host)
    an_engine_that_runs_is_used_and_left(fresh_host)


def owned_by_caller(host):
    """The outputs belong to whoever typed sudo."""
    owners = host.run("find decode-agent/demo-outputs -printf '%u %P\\n'", user="admin").stdout
    assert "admin smlm/output/rendering.png" in owners
    assert "root" not in owners


def an_engine_that_runs_is_used_and_left(host):
    """No second engine is started; the one of the distribution still runs afterwards, without a container."""
    host.run("systemctl start docker")
    running = host.run("pgrep -x dockerd").stdout
    said, _ = run_demo(host)
    assert "Using the Docker engine that runs here" in said
    assert "Verdict: finished" in said
    assert host.run("pgrep -x dockerd").stdout == running
    assert host.run("ls /var/lib/docker/containers").stdout == ""
