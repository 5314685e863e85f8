"""The journal is lost under a running job: the next start goes on with it by its container's label."""

import pytest

from tests.e2e.agent_process import FILES, said_after_verdict, wait_for

pytestmark = pytest.mark.docker


def submit(mock, images):
    return mock.submit(
        image=images.busybox,
        files={"data/in": b"input"},
        cmd=[
            "echo begun >> /files/output/runs; cp /files/data/in /files/output/;",
            "until [ -e /files/go ]; do sleep 0.05; done; exit 3",
        ],
        files_up=FILES,
    )


def lose(state, how):
    """What a broken disk leaves."""
    for path in state.glob("agent.db*"):
        if how == "deleted":
            path.unlink()
        else:
            path.write_bytes(b"\xff" * 8192)


@pytest.mark.parametrize("how", ["deleted", "rubbish"])
def test_a_job_outlives_its_journal(local_agent, local_mock, images, dockerd, how):
    """One container, one verdict, all outputs; nothing is left over, and the log says what happened."""
    job_id = submit(local_mock, images)
    local_agent.start()
    wait_for((local_agent.state / "jobs" / job_id / "files" / "output" / "in").exists, "its container's work")
    local_agent.kill()
    lose(local_agent.state, how)
    local_agent.start("--until-idle")
    wait_for(lambda: "Adopted by the label of its container" in local_agent.log, "its adoption")
    (local_agent.state / "jobs" / job_id / "files" / "go").touch()
    assert local_agent.wait() == 0, local_agent.log
    job = local_mock.job(job_id)
    assert (job.status, job.runtime_details.split("\n")[0]) == ("error", "exit code 3")
    assert local_mock.output(job_id, "output/runs") == b"begun\n"
    assert local_mock.output(job_id, "output/in") == b"input"
    assert len(local_mock.mails(job_id)) == 1
    assert local_agent.leftovers == []
    assert dockerd.docker("ps", "-aq").split() == []


def test_a_job_whose_verdict_was_said_is_not_brought_back_to_life(local_agent, local_mock, images, dockerd):
    """The journal was lost between the verdict and the container's removal: not a word more."""
    job_id = submit(local_mock, images)
    hanging = local_mock.fault("hang", "PUT", "/status$", query="status=error", times=None, after=True)
    local_agent.start()
    wait_for((local_agent.state / "jobs" / job_id / "files" / "output" / "in").exists, "its container's work")
    (local_agent.state / "jobs" / job_id / "files" / "go").touch()
    wait_for(lambda: local_mock.job(job_id).status == "error", "the verdict")
    local_agent.kill()
    local_mock.state.faults.remove(hanging)
    lose(local_agent.state, "deleted")
    assert len(dockerd.docker("ps", "-aq").split()) == 1
    assert local_agent.run("--until-idle") == 0, local_agent.log
    assert [one for one in said_after_verdict(local_mock, job_id) if one.method != "GET"] == []
    assert local_mock.job(job_id).status == "error"
    assert dockerd.docker("ps", "-aq").split() == []


def test_an_api_that_is_away_keeps_the_container(local_agent, local_mock, images, dockerd):
    """Nobody knows whose it is: it runs on, no job is taken, and when the API is back the job goes on."""
    job_id = submit(local_mock, images)
    local_agent.start()
    wait_for((local_agent.state / "jobs" / job_id / "files" / "output" / "in").exists, "its container's work")
    local_agent.kill()
    lose(local_agent.state, "deleted")
    away = local_mock.fault("status", "GET", "/status$", times=None)
    local_agent.start("--until-idle")
    left = f"The container decode-job-{job_id} from before is left as it is"
    wait_for(lambda: left in local_agent.log, "a word about it")
    assert len(dockerd.docker("ps", "-q").split()) == 1
    local_mock.state.faults.remove(away)
    wait_for(lambda: "Adopted by the label of its container" in local_agent.log, "its adoption")
    (local_agent.state / "jobs" / job_id / "files" / "go").touch()
    assert local_agent.wait() == 0, local_agent.log
    assert local_mock.output(job_id, "output/runs") == b"begun\n"
