"""What a real engine does to a job is the machine's fault: it runs again here, or somebody else gets it."""

import pytest

from tests.e2e.agent_process import FILES, wait_for

pytestmark = pytest.mark.docker

RESTARTED = "the container engine was started anew while its container ran"


def submit(mock, images, cmd):
    return mock.submit(image=images.busybox, cmd=[cmd], files_up=FILES, files={"data/in": b"in"})


def wait_for_attempt(agent, job_id, number):
    """Its container is the n-th one, and has begun."""
    begun = agent.state / "jobs" / job_id / "files" / "begun"
    runs = f"Container decode-job-{job_id} runs."
    wait_for(lambda: agent.log.count(runs) == number and begun.exists(), f"attempt {number}")


def words(mock, job_id):
    return [change.status for change in mock.job(job_id).history]


def test_who_ends_well_because_the_engine_goes_down_has_not_finished(
    local_agent, local_mock, images, dockerd
):
    """It says 0 to the engine's SIGTERM, with half of its output: it runs again, over clean inputs."""
    job_id = submit(
        local_mock,
        images,
        "trap 'echo half > /files/output/half; exit 0' TERM; touch /files/begun; rm /files/data/in;"
        " until [ -e /files/go ]; do sleep 0.1; done; echo whole > /files/output/whole",
    )
    local_agent.start("--until-idle")
    wait_for_attempt(local_agent, job_id, 1)
    dockerd.restart()
    wait_for(lambda: f"{RESTARTED}; starting anew" in local_agent.log, "the machine's fault")
    wait_for_attempt(local_agent, job_id, 2)
    (local_agent.state / "jobs" / job_id / "files" / "go").touch()
    assert local_agent.wait() == 0, local_agent.log
    job = local_mock.job(job_id)
    assert (job.status, job.runtime_details) == ("finished", "")
    assert local_mock.output(job_id, "output/whole") == b"whole\n"
    assert "output/half" not in {output.path for output in local_mock.outputs(job_id)}
    assert len(local_mock.mails(job_id)) == 1
    assert local_agent.leftovers == []
    assert dockerd.docker("ps", "--all", "--quiet") == ""


def test_a_machine_that_ends_it_again_and_again_gives_it_back(local_agent, local_mock, images, dockerd):
    """Three times is enough: queued with the reason, no verdict, no e-mail, nothing left here."""
    local_agent.settings = {"DECODE_HOST_FAILURES": "100"}  # a slot that rests is not idle
    job_id = submit(local_mock, images, "touch /files/begun; sleep 1000")
    local_agent.start("--until-idle")
    for attempt in range(1, 4):
        wait_for_attempt(local_agent, job_id, attempt)
        dockerd.restart()
        wait_for(lambda n=attempt: local_agent.log.count(RESTARTED) >= n, f"blame {attempt}")
    assert local_agent.wait() == 0, local_agent.log
    job = local_mock.job(job_id)
    assert (job.status, job.runtime_details) == ("queued", RESTARTED)
    assert words(local_mock, job_id).count("queued") == 2  # when it was made, and once by us
    assert local_mock.mails(job_id) == []
    assert local_agent.leftovers == []
    assert dockerd.docker("ps", "--all", "--quiet") == ""


def test_a_machine_that_cannot_get_its_image_gives_it_back(local_agent, local_mock, dockerd):
    """A registry that only this machine may fail to reach: after its patience another one tries."""
    local_agent.settings = {"DECODE_IMAGE_PULL": "missing", "DECODE_HOST_PATIENCE": "1s"}
    job_id = local_mock.submit(image="127.0.0.1:9/lab/none:1", cmd=["true"], files_up=FILES)
    assert local_agent.run("--until-idle") == 0, local_agent.log
    job = local_mock.job(job_id)
    assert job.status == "queued"
    assert job.runtime_details.startswith("this machine cannot run it: the registry does not give the image")
    assert local_mock.mails(job_id) == []
    assert local_agent.leftovers == []
    assert dockerd.docker("ps", "--all", "--quiet") == ""
