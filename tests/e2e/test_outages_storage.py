"""A storage that is away or not itself: inputs are whole, outputs have arrived, or it is tried again."""

import re
from hashlib import sha256
from random import Random

import pytest

from mock_api.server import RunningMock
from mock_api.settings import Settings
from tests.e2e.agent_process import AgentProcess, finish
from tests.e2e.test_outages_api import PAGE, assert_no_secret

pytestmark = pytest.mark.docker

CONTENT = Random(4).randbytes(300_000)
DIGEST = sha256(CONTENT).hexdigest()
OUTAGES = {
    "resets": {"kind": "drop"},
    "cut off": {"kind": "truncate", "at_bytes": 100_001},
    "503": {"kind": "status", "status": 503, "headers": {"Retry-After": "1"}},
    "a login page": {"kind": "status", "status": 200, "headers": {"Content-Type": "text/html"}, "body": PAGE},
    "404 of a proxy": {"kind": "status", "status": 404, "body": PAGE},
    "no change": {"kind": "status", "status": 304, "body": ""},
}


@pytest.fixture
def mock():
    with RunningMock(Settings(storage="s3")) as mock:
        yield mock


@pytest.fixture
def agent(mock: RunningMock, dockerd, tmp_path):
    agent = AgentProcess(mock, dockerd.url, tmp_path / "state", {"DECODE_TRANSFER_TIMEOUT": "5"})
    yield agent
    agent.kill()


@pytest.mark.parametrize("name", OUTAGES)
def test_an_outage_of_the_storage_both_ways(agent, mock, images, name):
    """Every file, in and out, meets it thrice; the job sees its inputs whole, the user its outputs."""
    faults = [
        mock.fault(method="GET", path="^/decode-data/", times=3, **OUTAGES[name]),
        mock.fault(method="POST", path="^/decode-data$", times=3, **OUTAGES[name]),
    ]
    job_id = mock.submit(
        image=images.busybox,
        files={"data/in": CONTENT},
        cmd=["cd /files/output && sha256sum /files/data/in > sum && cp /files/data/in out"],
        files_up={"output": "output"},
    )
    job = finish(agent, mock, job_id)
    assert job.status == "finished", job.runtime_details
    assert mock.state.faults.struck(faults[0]) == 3
    assert mock.state.faults.struck(faults[1]) >= 2  # an answer without a body cannot be cut off
    assert re.match(rb"\w+", mock.output(job_id, "output/sum"))[0].decode() == DIGEST
    assert sha256(mock.output(job_id, "output/out")).hexdigest() == DIGEST
    assert len(mock.mails(job_id)) == 1
    assert_no_secret(agent)
