"""The user deletes the job, in each phase: the container goes, nothing is uploaded or said afterwards."""

from time import sleep

import pytest

from tests.e2e.agent_process import FILES, wait_for

pytestmark = pytest.mark.docker

TIMEOUT_STATUS_S = 1.0


def submit(mock, images):
    return mock.submit(
        image=images.busybox,
        files={"data/in": b"x" * 2_000_000},
        cmd=["cp /files/data/in /files/output/; until [ -e /files/go ]; do sleep 0.1; done"],
        files_up=FILES,
    )


def hold(mock, phase):
    """Keep the agent in the phase."""
    if phase == "preprocessing":
        mock.fault("slow", "GET", "/download$", times=None, bytes_per_s=50_000)
    if phase == "postprocessing":
        mock.fault("slow", "POST", "/files/upload$", times=None, bytes_per_s=50_000)


@pytest.mark.parametrize("phase", ["preprocessing", "running", "postprocessing"])
@pytest.mark.parametrize("lost", [False, True], ids=["404", "404 lost, then 500"])
def test_deleted_by_its_user(local_agent, local_mock, images, dockerd, phase, lost):
    """The container and the folder go; how soon is printed by tests/bench/job.py."""
    job_id = submit(local_mock, images)
    hold(local_mock, phase)
    local_agent.start("--until-idle")
    if phase == "postprocessing":
        wait_for(lambda: local_mock.job(job_id).status == "running", "running")
        (local_agent.state / "jobs" / job_id / "files" / "go").touch()
    wait_for(lambda: local_mock.job(job_id).status == phase, phase)
    if lost:
        local_mock.fault("drop", "PUT", f"/jobs/{job_id}/status$", times=1, after=True)
    local_mock.cancel(job_id)
    wait_for(lambda: not containers(dockerd), "the container's end")
    wait_for(lambda: not local_agent.leftovers, "the folder's end")
    assert local_agent.wait() == 0
    assert_silence(local_mock, job_id)


def test_nothing_is_said_after_a_404(local_agent, local_mock, images):
    """Not one word more, and no verdict, for as long as we look."""
    job_id = submit(local_mock, images)
    local_agent.start()
    wait_for(lambda: local_mock.job(job_id).status == "running", "running")
    local_mock.cancel(job_id)
    wait_for(lambda: not local_agent.leftovers, "the folder's end")
    sleep(3 * TIMEOUT_STATUS_S)
    assert_silence(local_mock, job_id)


def containers(dockerd):
    return dockerd.docker("ps", "-aq", "--filter", "label=decode-agent.job-id").split()


def assert_silence(mock, job_id):
    about = mock.requests(path=f"/jobs/{job_id}/")
    answered = [at for at, one in enumerate(about) if one.status == 404]
    assert answered, "the agent never heard the 404"
    assert [f"{one.method} {one.path}" for one in about[answered[0] + 1 :]] == []
    assert mock.mails(job_id) == []
