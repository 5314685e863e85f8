"""An owner who wants the machine back, and a machine that fails: both come back by `resume`."""

import subprocess
import sys

import pytest

from agent.adapters.control_client import ControlClient
from agent.core.errors import ServiceTrouble
from tests.e2e.agent_process import FILES, PATIENCE_S, ROOT, wait_for

pytestmark = pytest.mark.docker


def submit(mock, images, cmd="touch /files/begun; sleep 1000"):
    return mock.submit(image=images.busybox, cmd=[cmd], files_up=FILES)


def begins(agent, job_id):
    begun = agent.state / "jobs" / job_id / "files" / "begun"
    wait_for(begun.exists, f"job {job_id} runs")


def status(agent):
    try:
        return ControlClient(agent.state / "control.sock").status()
    except ServiceTrouble:
        return None


@pytest.fixture
def say(local_agent):
    """Run a command on that agent's socket: all that it said."""

    def act(*words, code=0):
        command = [sys.executable, "-m", "agent", *words, "--socket", str(local_agent.state / "control.sock")]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False, cwd=ROOT
        )
        assert done.returncode == code, done.stdout + done.stderr + local_agent.log[-4000:]
        return done.stdout + done.stderr

    return act


def returns(mock, job_id):
    """How often the job was given back."""
    return [change.status for change in mock.job(job_id).history].count("queued") - 1


def test_the_owner_gets_the_machine_back(local_agent, local_mock, images, dockerd, say):
    """The job is in the queue again with the reason, its container gone, nothing is taken until `resume`."""
    first = submit(local_mock, images)
    local_agent.start()
    begins(local_agent, first)
    second = submit(local_mock, images, "true")
    assert "say --yes if this is meant" in say("release", code=1)
    assert local_mock.job(first).status == "running"
    said = say("release", "--yes", "--reason", "a demo for visitors")
    assert f"Job {first} was claimed " in said
    assert f"Job {first} is given back to the queue.\n" in said
    assert "no container is left" in said
    assert dockerd.docker("ps", "--all", "--quiet") == ""
    wait_for(lambda: not status(local_agent).jobs, "that it is told")
    job = local_mock.job(first)
    assert (job.status, job.runtime_details) == ("queued", "a demo for visitors")
    assert local_mock.mails(first) == []
    assert local_agent.leftovers == []
    assert local_mock.job(second).status == "queued"
    assert "paused" in say("status")
    assert "returned" in say("jobs")
    say("resume")
    wait_for(lambda: local_mock.job(second).status == "finished", "the next job")


def test_a_release_outlives_a_kill(local_agent, local_mock, images, dockerd):
    """The API is away and the agent is killed: the next start delivers it, once, and runs the job no more."""
    job_id = submit(local_mock, images)
    local_agent.start()
    begins(local_agent, job_id)
    fault = local_mock.fault("drop", "PUT", f"/jobs/{job_id}/status$", times=None)
    released = ControlClient(local_agent.state / "control.sock").release([], "a demo")
    assert released.given_back == (int(job_id),)
    wait_for(lambda: any(job.is_freed for job in status(local_agent).jobs), "that its container is gone")
    assert dockerd.docker("ps", "--all", "--quiet") == ""
    local_agent.kill()
    assert returns(local_mock, job_id) == 0
    local_agent.start()
    wait_for(lambda: status(local_agent), "the next start")
    local_mock.state.faults.remove(fault)
    wait_for(lambda: returns(local_mock, job_id) == 1, "that it is given back")
    wait_for(lambda: not status(local_agent).jobs, "its end")
    assert dockerd.docker("ps", "--all", "--quiet") == ""
    assert local_agent.leftovers == []
    assert local_agent.log.count(f"Container decode-job-{job_id} runs.") == 1
    assert status(local_agent).mode == "paused"


def test_a_slot_rests_and_comes_back(local_agent, local_mock, images, dockerd, say):
    """This machine cannot have an image: it takes no job for now, and proves itself by a self-test."""
    local_agent.settings = {
        "DECODE_IMAGE_PULL": "missing",
        "DECODE_HOST_PATIENCE": "1s",
        "DECODE_HOST_FAILURES": "1",
    }
    first = local_mock.submit(image="127.0.0.1:9/lab/none:1", cmd=["true"], files_up=FILES)
    local_agent.start()
    wait_for(lambda: local_mock.job(first).status == "queued" and returns(local_mock, first), "its return")
    wait_for(lambda: status(local_agent).gates, "that the slot rests")
    second = submit(local_mock, images, "true")
    shown = say("status", code=4)
    assert "slot 0 rests: 1 attempt failed by this machine's fault, the last: " in shown
    assert "next self-test at " in shown
    assert local_mock.job(second).status == "queued"

    say("resume")
    wait_for(lambda: local_mock.job(second).status == "finished", "the next job")
    wait_for(lambda: not status(local_agent).jobs, "its end")
    assert "Slot 0 takes jobs again: its self-test passed." in local_agent.log
    assert dockerd.docker("images", "--quiet", "--filter", "label=decode-agent.selftest") == ""
    assert dockerd.docker("ps", "--all", "--quiet") == ""
    wait_for(lambda: not local_agent.leftovers, "that nothing is left")
