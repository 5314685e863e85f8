"""An API that is away, refuses or is not itself for a while, in the middle of a job: nothing is lost."""

import re

import pytest
import requests

from tests.e2e.agent_process import ACCOUNT, FILES, said_after_verdict, wait_for

pytestmark = pytest.mark.docker

PAGE = "<html><title>Welcome</title>Please log in to this network.</html>"
OUTAGES = {
    "resets": {"kind": "drop"},
    "502 with a page": {"kind": "status", "status": 502, "body": PAGE},
    "429": {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}, "body": '{"detail":"busy"}'},
    "401": {"kind": "status", "status": 401, "body": '{"detail":"Not verified"}'},
    "404 of a gateway": {"kind": "status", "status": 404, "body": '{"message":"Not Found"}'},
    "a login page": {"kind": "status", "status": 200, "headers": {"Content-Type": "text/html"}, "body": PAGE},
    "other JSON": {"kind": "status", "status": 200, "body": '{"login":"http://login.example/"}'},
    "cut-off bodies": {"kind": "truncate", "at_bytes": 3},
}
ABOUT_JOBS = "^/(jobs|files)"


def submit(mock, images):
    return mock.submit(
        image=images.busybox,
        files={"data/in": b"abc" * 1000},
        cmd=["until [ -e /files/go ]; do sleep 0.1; done; cp /files/data/in /files/output/"],
        files_up=FILES,
    )


def run_until(mock, agent, images, status):
    """Start the agent on a job and wait for this word."""
    job_id = submit(mock, images)
    agent.start("--until-idle")
    wait_for(lambda: mock.job(job_id).status == status, status)
    return job_id


def let_go(agent, job_id):
    (agent.state / "jobs" / job_id / "files" / "go").touch()


def lasts(mock, name, strikes=4):
    """Wait until the outage has hit so often."""
    before = mock.state.faults.struck(name)
    wait_for(lambda: mock.state.faults.struck(name) >= before + strikes, f"{strikes} more strikes")


def assert_delivered(mock, agent, job_id):
    """Once, complete, and nothing that is secret was told on the way."""
    assert agent.wait() == 0
    job = mock.job(job_id)
    assert job.status == "finished", job.runtime_details
    assert mock.output(job_id, "output/in") == b"abc" * 1000
    assert len(mock.mails(job_id)) == 1
    assert agent.leftovers == []
    assert all(one.method == "GET" for one in said_after_verdict(mock, job_id))
    assert_no_secret(agent)


def assert_no_secret(agent):
    """No token, no password, no signed query stands in the log."""
    assert ACCOUNT[1] not in agent.log
    assert not re.search(r"eyJ[\w-]{8}|X-Amz-[A-Z]\w+=[^…]|\?token=", agent.log)


@pytest.mark.parametrize("name", OUTAGES)
def test_away_from_the_middle_of_the_run_to_past_its_end(local_agent, local_mock, images, name):
    """The container ends meanwhile; its outputs and its verdict are delivered when the API is there again."""
    job_id = run_until(local_mock, local_agent, images, "running")
    outage = local_mock.fault(path=ABOUT_JOBS, times=None, **OUTAGES[name])
    lasts(local_mock, outage, 2)
    let_go(local_agent, job_id)
    wait_for(lambda: "ended: exit code 0" in local_agent.log, "the container's end")
    lasts(local_mock, outage)
    assert local_agent.process.poll() is None
    local_mock.state.faults.clear()
    assert_delivered(local_mock, local_agent, job_id)


@pytest.mark.parametrize("name", ["a login page", "other JSON"])
def test_away_when_looked_for_jobs(local_agent, local_mock, images, name):
    """No job is made of what somebody else says; the queue is asked again."""
    outage = local_mock.fault(method="GET", path="^/jobs$", times=3, **OUTAGES[name])
    job_id = submit(local_mock, images)
    local_agent.start("--once")
    wait_for(lambda: local_mock.job(job_id).status == "running", "running")
    assert local_mock.state.faults.struck(outage) == 3
    let_go(local_agent, job_id)
    assert_delivered(local_mock, local_agent, job_id)


def test_killed_and_started_again_while_the_api_is_away(local_agent, local_mock, images):
    """The container runs on, is adopted, and delivered when the API says whose job it is."""
    job_id = run_until(local_mock, local_agent, images, "running")
    outage = local_mock.fault(path=ABOUT_JOBS, times=None, **OUTAGES["a login page"])
    lasts(local_mock, outage, 1)
    local_agent.kill()
    let_go(local_agent, job_id)
    local_agent.start("--until-idle")
    lasts(local_mock, outage, 2)
    local_mock.state.faults.clear()
    assert_delivered(local_mock, local_agent, job_id)
    assert "Adopting its container" in local_agent.log


def test_tokens_end_while_the_login_is_away(local_agent, local_mock, images):
    """The job under way goes on without a word, and is delivered when there is a token again."""
    job_id = run_until(local_mock, local_agent, images, "running")
    outage = local_mock.fault("status", "POST", "^/$", times=None, status=500, body="{}")
    local_mock.expire_tokens()
    lasts(local_mock, outage, 1)
    let_go(local_agent, job_id)
    wait_for(lambda: "ended: exit code 0" in local_agent.log, "the container's end")
    lasts(local_mock, outage, 1)
    local_mock.state.faults.clear()
    assert_delivered(local_mock, local_agent, job_id)
    assert "the login service fails (500" in local_agent.log


def test_away_for_so_long_that_the_job_is_back_in_the_queue(local_agent, local_mock, images):
    """Nobody took it: it is still ours, and delivered."""
    job_id = run_until(local_mock, local_agent, images, "running")
    outage = local_mock.fault(path=ABOUT_JOBS, times=None, **OUTAGES["resets"])
    lasts(local_mock, outage, 1)
    local_mock.advance(400)
    wait_for(lambda: local_mock.job(job_id).status == "queued", "the API's patience to end")
    let_go(local_agent, job_id)
    wait_for(lambda: "ended: exit code 0" in local_agent.log, "the container's end")
    local_mock.state.faults.clear()
    assert_delivered(local_mock, local_agent, job_id)


@pytest.mark.parametrize("has_ended", [False, True], ids=["still running", "ended meanwhile"])
def test_away_for_so_long_that_another_worker_has_the_job(local_agent, local_mock, images, has_ended):
    """As after a night's sleep of the machine: not a word, nothing is uploaded, nothing is left."""
    job_id = run_until(local_mock, local_agent, images, "running")
    outage = local_mock.fault(path=ABOUT_JOBS, worker=ACCOUNT[0], times=None, **OUTAGES["resets"])
    lasts(local_mock, outage, 1)
    if has_ended:
        let_go(local_agent, job_id)
        wait_for(lambda: "ended: exit code 0" in local_agent.log, "the container's end")
    local_mock.advance(400)
    wait_for(lambda: local_mock.job(job_id).status == "queued", "the API's patience to end")
    token = local_mock.token("worker2@example.com")
    other = {"Authorization": f"Bearer {token}"}
    answer = requests.get(f"{local_mock.url}/jobs?memory=100000&cpu_cores=64", headers=other, timeout=30)
    assert list(answer.json()) == [job_id]
    local_mock.state.faults.clear()
    assert local_agent.wait() == 0
    assert local_agent.leftovers == []
    assert local_mock.job(job_id).status == "pulled"
    assert local_mock.outputs(job_id) == []
    assert local_mock.mails(job_id) == []
    assert_no_secret(local_agent)
