"""Faults on the wire, and the rules that choose their victims."""

import socket
import time

import pytest
import requests
from requests.exceptions import ChunkedEncodingError, ReadTimeout

from tests.fakes.waiting import LONG_S, wait_until

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def path(mock):
    """A download."""
    return f"/files/{mock.state.put_file('x', CONTENT)}/download"


def test_status_with_headers_and_body(mock, worker):
    """So many times, then never again."""
    name = mock.fault(
        "status", "GET", "^/jobs$", status=503, headers={"Retry-After": "7"}, times=2, body="busy"
    )
    answers = [worker.call("GET", "/jobs?memory=1") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert (answers[0].headers["retry-after"], answers[0].text) == ("7", "busy")
    assert mock.state.faults.struck(name) == 2
    assert [request.fault for request in mock.requests()] == [name, name, None]


@pytest.mark.parametrize(
    "rule",
    [
        {"method": "PUT"},
        {"path": "/files"},
        {"query": "memory=2"},
        {"worker": "worker2@example.com"},
        {"times": 0},
        {"skip": 1},
    ],
)
def test_rule_that_does_not_match_passes(mock, worker, rule):
    """Method, path, query, worker and count all have to."""
    mock.fault("status", **rule)
    assert worker.call("GET", "/jobs?memory=1").status_code == 200


def test_rule_may_wait_for_its_turn(mock, worker):
    """`skip` lets some pass, `times=None` never ends, the first rule that matches wins."""
    mock.fault("status", status=501, skip=1)
    last = mock.fault("status", status=502, times=None, query="memory=1")
    codes = [worker.call("GET", "/jobs?memory=1").status_code for _ in range(4)]
    assert codes == [502, 501, 502, 502]
    mock.state.faults.remove(last)
    assert worker.call("GET", "/jobs?memory=1").status_code == 200


def test_delay(mock, worker):
    """The right answer, late."""
    mock.fault("delay", delay_s=0.3)
    before = time.monotonic()
    assert worker.call("GET", "/jobs?memory=1").status_code == 200
    assert time.monotonic() - before >= 0.3


@pytest.mark.parametrize("after", [False, True])
def test_drop_before_or_after_the_effect(mock, worker, after):
    """The client sees the same, the server does not: a lost answer has claimed the job."""
    job_id = mock.submit()
    mock.fault("drop", path="^/jobs$", after=after)
    with pytest.raises(requests.ConnectionError):
        worker.claim()
    assert mock.job(job_id).status == ("pulled" if after else "queued")
    assert mock.requests()[0].status is None
    assert (worker.claim() == {}) is after


@pytest.mark.parametrize(("kind", "seen"), [("delay", 200), ("status", 500)])
def test_other_faults_after_the_effect(mock, worker, kind, seen):
    """The answer comes late, or another one comes."""
    job_id = mock.submit()
    mock.fault(kind, path="^/jobs$", after=True, delay_s=0.1)
    assert worker.call("GET", "/jobs?memory=1").status_code == seen
    assert mock.job(job_id).status == "pulled"


def test_drop_in_the_middle_of_an_upload(mock, worker):
    """After so many bytes of the body; nothing is stored."""
    job_id = mock.submit()
    worker.claim()
    mock.fault("drop", "POST", "upload", at_bytes=100_000)
    upload = f"/jobs/{job_id}/files/upload?type=output&base_path=out"
    with pytest.raises(requests.ConnectionError):
        worker.call("POST", upload, files={"file": ("x", CONTENT * 20)})
    assert mock.outputs(job_id) == []
    assert worker.call("POST", upload, files={"file": ("x", CONTENT)}).status_code == 201


def test_truncated_body_announces_its_full_length(mock, worker, path):
    """The client can tell, if it counts."""
    mock.fault("truncate", path="download", at_bytes=1000)
    with pytest.raises(ChunkedEncodingError, match="1000 bytes read, 255000 more"):
        worker.call("GET", path)
    assert worker.call("GET", path).content == CONTENT


def test_length_that_is_off(mock, worker, path):
    """Longer looks like a cut; shorter looks whole, so only the Range answer's total tells."""
    mock.fault("length", path="download", length_off=10)
    mock.fault("length", path="download", length_off=-10)
    with pytest.raises(ChunkedEncodingError):
        worker.call("GET", path)
    assert worker.call("GET", path).content == CONTENT[:-10]
    assert worker.call("GET", path).content == CONTENT


def test_slow_trickle(mock, worker, path):
    """So many bytes a second, down and up."""
    mock.fault("slow", path="download", bytes_per_s=len(CONTENT) * 4)
    before = time.monotonic()
    assert worker.call("GET", path).content == CONTENT
    assert time.monotonic() - before > 0.2


def test_hang_ends_with_the_client(mock, worker):
    """No answer, until the client gives up."""
    mock.fault("hang")
    with pytest.raises(ReadTimeout):
        worker.session.get(f"{mock.url}/access_info", timeout=(LONG_S, 0.2))
    wait_until(lambda: any(request.fault for request in mock.requests()))
    assert worker.session.get(f"{mock.url}/access_info", timeout=LONG_S).status_code == 200


def connect(mock):
    """A bare connection, whose patience may be changed in the middle."""
    host, port = mock.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=LONG_S)


def test_stall_in_the_middle_of_an_answer(mock, worker, path):
    """The connection lives, but nothing more comes."""
    mock.fault("stall", path="download", at_bytes=1000)
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {worker.headers['authorization']}\r\n\r\n"
    with connect(mock) as connection:
        connection.sendall(request.encode())
        got = b""
        while not got.endswith(CONTENT[:1000]) and (more := connection.recv(1 << 16)):
            got += more
        assert got.endswith(b"\r\n\r\n" + CONTENT[:1000])
        assert f"content-length: {len(CONTENT)}\r\n".encode() in got
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_hang_in_the_middle_of_an_upload(mock):
    """The server stops reading: the client's own timeout has to end it."""
    mock.fault("hang", "POST", at_bytes=1)
    with connect(mock) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.sendall(bytes(100_000_000))


def test_mock_endpoints_are_never_struck(mock, worker):
    """Who sets a fault can take it away."""
    mock.fault("status", times=None)
    assert worker.session.delete(f"{mock.url}/mock/faults", timeout=LONG_S).status_code == 204
    assert worker.call("GET", "/jobs?memory=1").status_code == 200
