"""install.sh and its demo on the machine that the tests run on."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from agent import __version__

REPOSITORY = Path(__file__).resolve().parents[2]
INSTALL = REPOSITORY / "install.sh"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "decode-agent"
DEMO_TIMEOUT_S = 400


def install(*options):
    """install.sh, ended."""
    return subprocess.run(
        [INSTALL, *options], capture_output=True, text=True, timeout=DEMO_TIMEOUT_S, check=False
    )


def leftovers():
    """Processes, network links, mounts and folders of a demo on this machine.

    Other tests may run one on a booted host meanwhile: its processes are in a namespace of their own.
    """
    here = str(Path("/proc/self/ns/mnt").readlink())
    listed = subprocess.run(["ps", "-e", "-o", "mntns=,args="], capture_output=True, text=True, check=True)
    return [
        *(
            line
            for line in listed.stdout.splitlines()
            if f"{CACHE}/demo" in line and f"mnt:[{line.split()[0]}]" == here
        ),
        *(line for line in Path("/proc/self/mounts").read_text().splitlines() if f"{CACHE}/demo" in line),
        *Path("/sys/class/net").glob("decode-demo*"),
        *CACHE.glob("demo.????????"),
    ]


def need_root():
    """Skip at home, fail in CI."""
    if os.geteuid() == 0:
        return
    if os.environ.get("CI"):
        pytest.fail("the demo needs root")
    pytest.skip("the demo needs root")


def test_version_is_the_agents():
    """install.sh and the package it installs cannot disagree."""
    assert install("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize("options", [("--env-file",), ("--frobnicate",), ("--demo=sofa",)])
def test_what_it_cannot_do_is_said_with_exit_2(options):
    """A wrong option does nothing; none at all is not tried, it would install on this very machine."""
    done = install(*options)
    assert done.returncode == 2
    assert done.stderr
    assert not done.stdout


def test_without_root_it_says_what_to_type():
    """One line, before anything was touched."""
    need_root()  # to become nobody
    # Read from standard input: nobody may not be allowed where the repository lies.
    command = ["setpriv", "--reuid=65534", "--clear-groups", "bash", "-s", "--", "--demo"]
    script = INSTALL.read_text()
    done = subprocess.run(command, input=script, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 1
    assert done.stderr == "error: this needs root: sudo ./install.sh --demo\n"


@pytest.mark.docker
def test_comet_recovers_the_known_drift():
    """One of the network's real applications, as its jobs are written, to a few nm."""
    need_root()
    done = install("--demo=comet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Verdict: finished" in done.stdout
    errors_nm = [float(error) for error in re.findall(r"recovered with an RMSE of ([\d.]+) nm", done.stdout)]
    assert len(errors_nm) == 3
    assert max(errors_nm) < 5
    assert not leftovers()


@pytest.mark.docker
def test_an_interrupted_demo_leaves_nothing_and_a_second_one_waits_its_turn():
    """Ctrl-C in the middle of the job ends the job's container, the engine and the stand-in."""
    need_root()
    with subprocess.Popen(
        [INSTALL, "--demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        for line in demo.stdout:
            if "Running the agent" in line:
                break
        second = install("--demo")
        time.sleep(2)
        os.killpg(demo.pid, signal.SIGINT)
        demo.stdout.read()
        assert demo.wait(60) == 130
    assert second.returncode == 1
    assert second.stderr == "error: another demo is running on this machine\n"
    assert not leftovers()
