"""An API and a storage that have a bad day: the job's verdict is the same."""

import pytest

from tests.e2e.agent_process import FILES, finish, said_after_verdict, wait_for

pytestmark = pytest.mark.docker

ENDPOINTS = {
    "claim": ("GET", r"^/jobs$", ""),
    "preprocessing": ("PUT", "/status$", "status=preprocessing"),
    "running": ("PUT", "/status$", "status=running"),
    "postprocessing": ("PUT", "/status$", "status=postprocessing"),
    "finished": ("PUT", "/status$", "status=finished"),
    "download url": ("GET", "^/files/.*/url$", ""),
    "download": ("GET", "^/files/.*/download$", ""),
    "upload url": ("POST", "/files/url$", ""),
    "upload": ("POST", "/files/upload$", ""),
}


def submit(mock, images, **more):
    return mock.submit(
        image=images.busybox,
        files={"data/in": b"abc" * 1000},
        cmd=["cp /files/data/in /files/output/"],
        files_up=FILES,
        **more,
    )


def assert_good(mock, job_id):
    assert mock.job(job_id).status == "finished", mock.job(job_id).runtime_details
    assert mock.output(job_id, "output/in") == b"abc" * 1000
    assert len(mock.mails(job_id)) == 1


@pytest.mark.parametrize("name", ENDPOINTS)
def test_500_three_times_on_each_endpoint(local_agent, local_mock, images, name):
    """Three bad answers cost time, nothing else."""
    method, path, query = ENDPOINTS[name]
    local_mock.fault("status", method, path, query=query, times=3, status=500)
    job_id = submit(local_mock, images)
    finish(local_agent, local_mock, job_id)
    assert_good(local_mock, job_id)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_401_once_on_each_endpoint(local_agent, local_mock, images, name):
    """A token that is refused is renewed, and the request sent again."""
    method, path, query = ENDPOINTS[name]
    local_mock.fault(
        "status", method, path, query=query, times=1, status=401, body='{"detail":"Not verified"}'
    )
    job_id = submit(local_mock, images)
    finish(local_agent, local_mock, job_id)
    assert_good(local_mock, job_id)


def test_a_token_that_expires_in_mid_job(local_agent, local_mock, images):
    """The job does not notice."""
    job_id = local_mock.submit(
        image=images.busybox,
        files={"data/in": b"abc" * 1000},
        cmd=["until [ -e /files/go ]; do sleep 0.1; done; cp /files/data/in /files/output/"],
        files_up=FILES,
    )
    local_agent.start("--until-idle")
    wait_for(lambda: local_mock.job(job_id).status == "running", "running")
    local_mock.expire_tokens()
    (local_agent.state / "jobs" / job_id / "files" / "go").touch()
    assert local_agent.wait() == 0
    assert_good(local_mock, job_id)


def test_a_claim_whose_answer_was_lost_is_not_sent_again(local_agent, local_mock, images):
    """The lost job comes back by the API's time-out only; meanwhile the next one runs."""
    lost, good = submit(local_mock, images), submit(local_mock, images)
    local_mock.fault("drop", "GET", "^/jobs$", times=1, after=True)
    finish(local_agent, local_mock, good)
    assert_good(local_mock, good)
    assert local_mock.job(lost).status == "pulled"
    first, second = local_mock.requests("GET", "^/jobs$")[:2]
    assert second.at - first.at > 0.9


def test_a_verdict_whose_answer_was_lost_is_sent_once(local_agent, local_mock, images):
    """Its user gets one e-mail."""
    job_id = submit(local_mock, images)
    local_mock.fault("drop", "PUT", "/status$", query="status=finished", times=1, after=True)
    finish(local_agent, local_mock, job_id)
    assert_good(local_mock, job_id)
    assert [one.method for one in said_after_verdict(local_mock, job_id)] == ["GET"]


@pytest.mark.parametrize("kind", ["drop", "truncate", "length", "stall"])
def test_downloads_that_are_cut_off(agent, mock, images, kind):
    """They go on where they ended, or anew; what arrives is whole."""
    path = "/download$" if mock.state.settings.storage == "local" else "in"
    mock.fault(
        kind, "GET", path, query="" if path == "/download$" else "X-Amz", times=2, at_bytes=1000, length_off=5
    )
    agent.settings = {"DECODE_TRANSFER_TIMEOUT": "2"}
    job_id = submit(mock, images)
    finish(agent, mock, job_id)
    assert_good(mock, job_id)


def test_uploads_that_are_cut_off(agent, mock, images):
    """They are sent again, from the beginning and by a new URL."""
    storage = "/files/upload$" if mock.state.settings.storage == "local" else "^/decode-data$"
    mock.fault("drop", "POST", storage, times=2, at_bytes=500)
    job_id = submit(mock, images)
    finish(agent, mock, job_id)
    assert_good(mock, job_id)
    assert len(mock.requests("POST", "/files/url$")) >= 4


@pytest.mark.parametrize("mock", ["s3"], indirect=True)
def test_a_presigned_url_that_expired(agent, mock, images):
    """A 403 of the storage means a new URL, for inputs and outputs."""
    mock.fault(
        "status",
        "GET",
        "in",
        query="X-Amz",
        times=1,
        status=403,
        body="<Error><Code>AccessDenied</Code></Error>",
    )
    mock.fault(
        "status",
        "POST",
        "^/decode-data$",
        times=1,
        status=403,
        body="<Error><Code>AccessDenied</Code></Error>",
    )
    job_id = submit(mock, images)
    finish(agent, mock, job_id)
    assert_good(mock, job_id)


def test_a_malformed_row_at_the_head_of_the_queue(local_agent, local_mock, images):
    """It answers 500 to everyone: the agent keeps asking."""
    local_mock.submit(spec={"handler": {}})
    local_agent.start("--once")
    wait_for(lambda: len(local_mock.requests("GET", "^/jobs$")) >= 2, "a second look")
    good = submit(local_mock, images, priority=9)
    assert local_agent.wait() == 0
    assert_good(local_mock, good)
