"""A running agent as its owner sees it: the commands, and curl, on the real control socket."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from agent.adapters.control_client import ControlClient
from agent.core.errors import ServiceDown
from tests.e2e.agent_process import FILES, PATIENCE_S, ROOT, wait_for

pytestmark = pytest.mark.docker

DRAINED = 79


def submit(mock, images):
    """A job that says something and goes on when it is told to."""
    cmd = "echo first line; until [ -e /files/go ]; do sleep 0.1; done; echo last line >&2; exit 3"
    return mock.submit(image=images.busybox, cmd=[cmd], files_up=FILES)


@pytest.fixture
def say(local_agent):
    """Run a command on that agent's socket: exit code and all that it said."""

    def act(*words, code=0):
        done = subprocess.run(
            command(local_agent, *words),
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == code, done.stdout + done.stderr + local_agent.log[-4000:]
        return done.stdout + done.stderr

    return act


def command(agent, *words):
    return [sys.executable, "-m", "agent", *words, "--socket", str(agent.state / "control.sock")]


def answers(agent):
    try:
        return ControlClient(agent.state / "control.sock").status()
    except ServiceDown:
        return None


def test_a_day_with_the_agent(local_agent, local_mock, images, say):
    """Watch a job, read its log, pause, resume, drain with a restart in between, have the agent end."""
    first = submit(local_mock, images)
    assert "is not running" in say("status", code=3)
    local_agent.start()
    wait_for(lambda: local_mock.job(first).status == "running", "running")
    wait_for(lambda: "first line" in say("logs", first), "the log's first line")
    shown = say("status")
    assert "decode-agent" in shown
    assert f"job {first}  running for" in shown
    assert images.busybox in shown
    assert curl(local_agent, "/v1/status")["jobs"][0]["phase"] == "RUNNING"

    say("pause")
    second = submit(local_mock, images)
    following = subprocess.Popen(
        command(local_agent, "logs", first, "-f"), stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with following:
        assert following.stdout.readline() == "first line\n"
        (local_agent.state / "jobs" / first / "files" / "go").touch()
        assert following.stdout.read() == "last line\n"
    assert following.returncode == 0
    wait_for(lambda: local_mock.job(first).status == "error", "its verdict")
    wait_for(lambda: not answers(local_agent).jobs, "idleness")
    assert "paused" in say("status")
    assert local_mock.job(second).status == "queued"
    assert say("logs", first) == "first line\nlast line\n"
    assert [job["exit_code"] for job in json.loads(say("jobs", "--json"))] == [3]

    say("resume")
    wait_for(lambda: local_mock.job(second).status == "running", "running")
    say("drain", "--no-wait")
    local_agent.signal(signal.SIGTERM)
    assert local_agent.wait() == 0
    past = say("jobs", "--state-dir", str(local_agent.state))
    assert "this is from its journal" in past
    assert "exit code 3" in past

    third = submit(local_mock, images)
    local_agent.start()
    wait_for(lambda: answers(local_agent), "the next start")
    wait_for(lambda: "first line" in say("logs", second), "the log of the adopted container")
    with subprocess.Popen(
        command(local_agent, "drain", "--exit"), stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as end:
        assert end.stdout.readline() == "No further job is taken.\n"
        assert end.stdout.readline() == f"Job {second} is under way.\n"
        (local_agent.state / "jobs" / second / "files" / "go").touch()
        assert "decode-agent has ended" in end.stdout.read()
    assert end.returncode == 0
    assert local_agent.wait() == DRAINED
    assert not (local_agent.state / "control.sock").exists()
    assert local_mock.job(second).status == "error"
    assert local_mock.job(third).status == "queued"

    local_agent.start()
    wait_for(lambda: local_mock.job(third).status == "running", "that the next start takes jobs")


def test_a_killed_agent_leaves_no_obstacle(local_agent, local_mock, say):
    """Its dead socket is replaced by the next one's."""
    local_agent.start()
    wait_for(lambda: answers(local_agent), "the start")
    local_agent.kill()
    assert (local_agent.state / "control.sock").is_socket()
    assert "is not running" in say("status", code=3)
    local_agent.start()
    wait_for(lambda: answers(local_agent), "the second start")
    assert "no job is under way" in say("status")
    assert local_mock.url in say("status")


def curl(agent, route):
    if shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("curl is not here")
    asked = ["curl", "-sS", "--unix-socket", str(agent.state / "control.sock"), f"http://localhost{route}"]
    return json.loads(subprocess.run(asked, capture_output=True, timeout=PATIENCE_S, check=True).stdout)
