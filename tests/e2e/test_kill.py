"""SIGKILL and SIGTERM in each phase, on a real engine: the same verdict, the container ran once."""

import signal

import pytest

from tests.e2e.agent_process import FILES, wait_for

pytestmark = pytest.mark.docker

CONTENT = b"0123456789" * 30_000


def submit(mock, images, *, then="exit 0"):
    return mock.submit(
        image=images.busybox,
        files={f"data/{number}": CONTENT for number in range(6)},
        cmd=[
            "echo begun >> /files/runs; cp /files/data/* /files/output/; cp /files/runs /files/output/;",
            f"until [ -e /files/go ]; do sleep 0.05; done; {then}",
        ],
        files_up=FILES,
    )


def hold(mock, phase):
    """Keep the agent in the phase; returns the faults' names."""
    if phase == "preprocessing":
        return [mock.fault("slow", "GET", "/download$", times=None, bytes_per_s=60_000)]
    if phase == "postprocessing":
        return [mock.fault("slow", "POST", "/files/upload$", times=None, skip=2, bytes_per_s=60_000)]
    if phase == "reporting":
        return [mock.fault("hang", "PUT", "/status$", query="status=(finished|error)", times=None)]
    if phase == "reported":
        return [
            mock.fault("hang", "PUT", "/status$", query="status=(finished|error)", times=None, after=True)
        ]
    return []


def reach(agent, mock, job_id, phase):
    """Wait until the agent is in the middle of the phase."""
    if phase != "preprocessing":
        wait_for(lambda: mock.job(job_id).status == "running", "running")
    if phase not in {"preprocessing", "running"}:
        (agent.state / "jobs" / job_id / "files" / "go").touch()
    match phase:
        case "preprocessing" | "running" | "postprocessing":
            wait_for(lambda: mock.job(job_id).status == phase, phase)
        case "reporting":
            wait_for(lambda: mock.job(job_id).status == "postprocessing", "postprocessing")
            wait_for(lambda: "REPORTING" in agent.log, "the report")
        case "reported":
            wait_for(lambda: mock.job(job_id).status in {"finished", "error"}, "the verdict")


@pytest.mark.parametrize("then", ["exit 0", "exit 3"])
@pytest.mark.parametrize("phase", ["preprocessing", "running", "postprocessing", "reporting", "reported"])
def test_sigkill_in_each_phase(local_agent, local_mock, images, dockerd, phase, then):
    """The next start finishes the job as if nothing had been."""
    job_id = submit(local_mock, images, then=then)
    faults = hold(local_mock, phase)
    local_agent.start("--until-idle")
    reach(local_agent, local_mock, job_id, phase)
    local_agent.kill()
    for name in faults:
        local_mock.state.faults.remove(name)
    local_agent.start("--until-idle")
    if phase in {"preprocessing", "running"}:
        wait_for(lambda: local_mock.job(job_id).status == "running", "running again")
        (local_agent.state / "jobs" / job_id / "files" / "go").touch()
    assert local_agent.wait() == 0, local_agent.log
    job = local_mock.job(job_id)
    assert job.status == ("finished" if then == "exit 0" else "error")
    assert job.runtime_details.split("\n")[0] == ("" if then == "exit 0" else "exit code 3")
    assert local_mock.output(job_id, "output/runs") == b"begun\n"
    for number in range(6):
        assert local_mock.output(job_id, f"output/{number}") == CONTENT
    assert len(local_mock.mails(job_id)) == 1
    assert local_agent.leftovers == []
    assert dockerd.docker("ps", "-aq", "--filter", "label=decode-agent.job-id").split() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("phase", ["preprocessing", "running", "postprocessing"])
def test_a_signal_detaches(local_agent, local_mock, images, dockerd, phase, number):
    """It ends at once with 0, the container runs on, the next start adopts it."""
    job_id = submit(local_mock, images)
    faults = hold(local_mock, phase)
    local_agent.start()
    reach(local_agent, local_mock, job_id, phase)
    local_agent.signal(number)
    assert local_agent.wait() == 0, local_agent.log
    if phase == "running":
        assert len(dockerd.docker("ps", "-q", "--filter", f"name=decode-job-{job_id}").split()) == 1
    for name in faults:
        local_mock.state.faults.remove(name)
    local_agent.start("--until-idle")
    if phase in {"preprocessing", "running"}:
        wait_for(lambda: local_mock.job(job_id).status == "running", "running again")
        (local_agent.state / "jobs" / job_id / "files" / "go").touch()
    assert local_agent.wait() == 0, local_agent.log
    assert local_mock.job(job_id).status == "finished"
    assert local_mock.output(job_id, "output/runs") == b"begun\n"


def test_a_signal_ends_it_while_the_api_hangs(local_agent, local_mock, images, dockerd):
    """A stop does not wait for an answer that does not come."""
    job_id = submit(local_mock, images)
    local_agent.start()
    reach(local_agent, local_mock, job_id, "running")
    hanging = local_mock.fault("hang", "PUT", "/status$", times=None)
    wait_for(lambda: local_mock.state.faults.struck(hanging), "a keep-alive that hangs")
    local_agent.signal(signal.SIGTERM)
    assert local_agent.wait(25) == 0, local_agent.log  # its own patience with an answer is 30 s
    assert len(dockerd.docker("ps", "-q", "--filter", f"name=decode-job-{job_id}").split()) == 1
