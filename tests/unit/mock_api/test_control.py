"""`/mock/…`: the same strings as from Python, over HTTP."""

import pytest


@pytest.fixture
def call(mock, worker):
    def call_mock(method, path, **arguments):
        return worker.session.request(method, f"{mock.url}/mock{path}", timeout=60, **arguments)

    return call_mock


def test_a_job_from_outside(worker, call):
    """Its files go in, its history and outputs come out, without a token."""
    file_id = call("PUT", "/files/data/a b.csv", data=b"1,2").json()["id"]
    job_id = call("POST", "/jobs", json={"image": "x", "files_down": {"data/a.csv": file_id}}).json()["id"]
    assert worker.claim()[job_id]["handler"]["files_down"] == {"data/a.csv": file_id}
    upload = f"/jobs/{job_id}/files/upload?type=log&base_path=log"
    worker.call("POST", upload, files={"file": ("a b.log", b"text")})
    worker.put(job_id, "finished", runtime_details="fine")
    job = call("GET", f"/jobs/{job_id}").json()
    assert [change["status"] for change in job["history"]] == ["queued", "pulled", "finished"]
    assert (job["owner"], job["runtime_details"]) == ("worker1@example.com", "fine")
    outputs = call("GET", f"/jobs/{job_id}/outputs").json()
    assert outputs == [{"kind": "log", "path": "log/a b.log", "size_bytes": 4}]
    assert call("GET", f"/jobs/{job_id}/outputs/log/log/a b.log").content == b"text"
    assert [mail["status"] for mail in call("GET", "/mails").json()] == ["finished"]
    assert call("GET", "/jobs").json() == [job]


def test_cancelling(mock, call):
    """The user deletes a job."""
    job_id = mock.submit()
    assert call("DELETE", f"/jobs/{job_id}").status_code == 204
    assert mock.job(job_id).deleted


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs/9"),
        ("DELETE", "/jobs/9"),
        ("GET", "/jobs/9/outputs"),
        ("GET", "/jobs/9/outputs/log/x"),
        ("GET", "/tokens/who@example.com"),
        ("GET", "/nothing"),
    ],
)
def test_unknown_things_are_404(call, method, path):
    """Said plainly."""
    assert call(method, path).status_code == 404


def test_misspelt_fields_are_refused(call):
    """A test that sets what does not exist hears it."""
    assert call("POST", "/jobs", json={"imagee": "x"}).status_code == 422
    assert call("POST", "/faults", json={"kind": "explode"}).status_code == 422
    assert call("PATCH", "/settings", json={"job_timeout": 1}).status_code == 422
    assert call("PUT", "/files/..%2F..%2Fx", data=b"1").status_code == 422


def test_faults(worker, call):
    """Added, counted, removed."""
    name = call("POST", "/faults", json={"kind": "status", "status": 429, "path": "^/jobs$"}).json()["name"]
    assert worker.call("GET", "/jobs?memory=1").status_code == 429
    (rule,) = call("GET", "/faults").json()
    assert (rule["name"], rule["struck"], rule["fault"]["status"]) == (name, 1, 429)
    assert call("DELETE", f"/faults/{name}").status_code == 204
    assert call("GET", "/faults").json() == []


def test_request_log(worker, call):
    """Seen and emptied; what goes to `/mock/` is not in it."""
    worker.claim()
    (entry,) = call("GET", "/requests", params={"path": "^/jobs"}).json()
    assert (entry["method"], entry["target"], entry["status"]) == ("GET", "/jobs?memory=1000", 200)
    assert call("DELETE", "/requests").status_code == 204
    assert call("GET", "/requests").json() == []


def test_clock_and_tokens(worker, call):
    """Time moves, tokens end, new ones come without a password."""
    call("PATCH", "/settings", json={"clock_offset_s": 3601, "job_timeout_s": 5})
    assert call("GET", "/settings").json()["job_timeout_s"] == 5
    assert worker.call("GET", "/jobs?memory=1").status_code == 401
    token = call("GET", "/tokens/worker2@example.com").json()["token"]
    worker.headers["authorization"] = f"Bearer {token}"
    assert worker.call("GET", "/jobs?memory=1").status_code == 200
    assert call("POST", "/tokens/expire").status_code == 204
    assert worker.call("GET", "/jobs?memory=1").status_code == 401
