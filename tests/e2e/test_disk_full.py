"""Somebody else fills the disk of the state in each phase: the agent lives, says so, goes on by itself."""

import os
import subprocess
from contextlib import suppress

import pytest

from tests.e2e.agent_process import FILES, AgentProcess, wait_for

pytestmark = pytest.mark.docker

CONTENT = os.urandom(1 << 20)
NUMBER = 6


@pytest.fixture
def disk(dockerd, tmp_path):
    """A file system of 48 MiB in memory."""
    assert dockerd.is_running  # so that it sees the mount, and that we are root
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def agent(local_mock, dockerd, disk, tmp_path):
    """Its state and its jobs are on that disk; its log is not."""
    agent = AgentProcess(local_mock, dockerd.url, disk / "state")
    agent.log_path = tmp_path / "log"
    yield agent
    agent.kill()


def fill(disk):
    for size_bytes in (1 << 20, 4096):
        with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * size_bytes)


def submit(mock, images):
    return mock.submit(
        image=images.busybox,
        files={f"data/{number}": CONTENT for number in range(NUMBER)},
        cmd=[
            "echo begun >> /files/output/runs; cp /files/data/* /files/output/; touch /files/ready;",
            "until [ -e /files/go ]; do sleep 0.05; done; echo the last words",
        ],
        files_up=FILES,
    )


def hold(mock, phase):
    """Keep the agent in the phase; the faults' names."""
    if phase == "preprocessing":
        return [mock.fault("slow", "GET", "/download$", times=None, bytes_per_s=300_000)]
    if phase == "postprocessing":
        return [mock.fault("slow", "POST", "/files/upload$", times=None, skip=2, bytes_per_s=300_000)]
    if phase == "reporting":
        return [mock.fault("hang", "PUT", "/status$", query="status=finished", times=None)]
    return []


def finish_container(agent, job_id):
    wait_for((agent.state / "jobs" / job_id / "files" / "ready").exists, "the container's outputs")
    (agent.state / "jobs" / job_id / "files" / "go").touch()


@pytest.mark.parametrize("phase", ["preprocessing", "running", "postprocessing", "reporting"])
def test_a_full_disk_loses_nothing(agent, local_mock, images, dockerd, disk, phase):
    """One verdict, every output as it was, the same process from beginning to end, nothing left over."""
    job_id = submit(local_mock, images)
    faults = hold(local_mock, phase)
    agent.start()
    if phase != "preprocessing":
        wait_for(lambda: local_mock.job(job_id).status == "running", "running")
        if phase == "running":
            wait_for((agent.state / "jobs" / job_id / "files" / "ready").exists, "its outputs")
        else:
            finish_container(agent, job_id)
    said = "postprocessing" if phase == "reporting" else phase
    wait_for(lambda: local_mock.job(job_id).status == said, said)
    if phase == "reporting":
        wait_for(lambda: local_mock.state.faults.struck(faults[0]), "the report")
    fill(disk)
    for name in faults:
        local_mock.state.faults.remove(name)
    if phase == "preprocessing":
        wait_for(lambda: "no space left" in agent.log.lower(), "a word about the disk")
    elif phase == "running":
        (agent.state / "jobs" / job_id / "files" / "go").touch()
        wait_for(lambda: "No space left" in agent.log, "a word about the disk")
    else:  # what is left to write down fits into the ballast: the verdict is said although the disk is full
        wait_for(lambda: local_mock.job(job_id).status == "finished", "the verdict")
    assert agent.process.poll() is None
    (disk / "filler").unlink()
    if phase == "preprocessing":
        wait_for(lambda: local_mock.job(job_id).status == "running", "running")
        finish_container(agent, job_id)
    wait_for(lambda: local_mock.job(job_id).status == "finished", "the verdict")
    wait_for(lambda: agent.leftovers == [], "the end of its folder")
    assert agent.process.poll() is None, agent.log
    assert local_mock.output(job_id, "output/runs") == b"begun\n"
    for number in range(NUMBER):
        assert local_mock.output(job_id, f"output/{number}") == CONTENT
    assert local_mock.output(job_id, "log/container.log", "log") == b"the last words\n"
    assert len(local_mock.mails(job_id)) == 1
    wait_for(lambda: dockerd.docker("ps", "-aq").split() == [], "the end of its container")


def test_no_job_is_taken_below_the_limit(agent, local_mock, images, disk):
    """The gate says which disk and which setting; it opens by itself."""
    agent.settings = {"DECODE_MIN_FREE_DISK_GIB": "0.03"}
    (disk / "filler").write_bytes(b"\0" * (30 << 20))
    job_id = local_mock.submit(image=images.busybox, cmd=["true"])
    agent.start()
    wait_for(lambda: "Taking no job: only " in agent.log, "the closed gate")
    assert f"are free on {agent.state} (the journal and jobs; MIN_FREE_DISK_GIB=0.03" in agent.log
    assert local_mock.job(job_id).status == "queued"
    (disk / "filler").unlink()
    wait_for(lambda: local_mock.job(job_id).status == "finished", "the verdict")
    assert "Taking jobs again." in agent.log


def test_it_starts_on_a_full_disk(agent, local_mock, images, disk):
    """Killed in the middle and started again: it adopts the container, and goes on when there is room."""
    job_id = submit(local_mock, images)
    agent.start()
    wait_for(lambda: local_mock.job(job_id).status == "running", "running")
    wait_for((agent.state / "jobs" / job_id / "files" / "ready").exists, "the container's outputs")
    fill(disk)
    agent.kill()
    agent.start()
    wait_for(lambda: "Adopting its container" in agent.log, "the adoption")
    (disk / "filler").unlink()
    finish_container(agent, job_id)
    wait_for(lambda: local_mock.job(job_id).status == "finished", "the verdict")
    assert local_mock.output(job_id, "output/runs") == b"begun\n"
