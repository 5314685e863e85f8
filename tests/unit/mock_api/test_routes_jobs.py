"""`/jobs` over a socket: what the recorded exchanges do not show."""

import pytest


def test_unknown_query_names_are_ignored(mock, worker):
    """`gpu_memory` is not `gpu_mem`: a job that needs GPU memory stays where it is."""
    mock.submit(gpu_mem=4000)
    assert worker.claim(gpu_memory=8000) == {}
    assert list(worker.claim(gpu_mem=8000)) == ["1"]


def test_groups_may_be_repeated(mock, worker):
    """A job for a group comes to who names it among others."""
    mock.submit(group="lab")
    assert worker.claim(groups="x") == {}
    assert list(worker.claim(groups=["x", "lab"])) == ["1"]


def test_malformed_row_answers_its_error(mock, worker):
    """500 with the validation's text, as often as one asks."""
    mock.submit(spec={"hardware": {}})
    for _ in range(2):
        answer = worker.call("GET", "/jobs?memory=1")
        assert answer.status_code == 500
        assert "for JobSpecs" in answer.json()["detail"]


def test_hostile_spec_reaches_the_worker(mock, worker):
    """Served word for word, under an id that is no number."""
    spec = {"app": None, "handler": {"files_down": {"/etc/passwd": 7}}}
    mock.submit(spec=spec, unchecked=True, queue_id="../1")
    assert worker.claim() == {"../1": spec}
    assert worker.put("..%2F1", "error") == 404
    assert worker.put("abc", "error") == 422


def test_word_and_details_travel_in_the_query(mock, worker):
    """Decoded once: newlines, ampersands and all."""
    job_id = mock.submit()
    worker.claim()
    details = "exit code 3\nÅ > 0 & < 5 mm (100%) + ☃"
    assert worker.put(job_id, "error", runtime_details=details) == 204
    assert mock.job(job_id).runtime_details == details
    assert [mail.job_id for mail in mock.mails()] == [job_id]


@pytest.mark.parametrize("status", ["pulled", "queued", "finished"])
def test_every_word_is_taken(mock, worker, status):
    """Whatever the job's state."""
    job_id = mock.submit()
    worker.claim()
    assert worker.put(job_id, status) == 204
    assert worker.call("GET", f"/jobs/{job_id}/status").json() == status


def test_unknown_job(worker):
    """PUT answers 500, GET 404."""
    assert worker.put("77", "running") == 500
    assert worker.call("GET", "/jobs/77/status").status_code == 404


def test_job_that_was_deleted_in_the_queue_is_still_handed_out(mock, worker):
    """The queue knows nothing of it before a PUT."""
    job_id = mock.submit()
    mock.cancel(job_id)
    assert list(worker.claim()) == [job_id]
    assert [worker.put(job_id, "preprocessing") for _ in range(3)] == [404, 500, 500]


def test_silent_job_goes_to_another_worker(mock, worker, other_worker):
    """After the time-out, and not before."""
    job_id = mock.submit()
    worker.claim()
    assert other_worker.claim() == {}
    mock.advance(301)
    other_worker.headers["authorization"] = "Bearer worker2-token"
    assert list(other_worker.claim()) == [job_id]
    assert mock.job(job_id).accounts == ("worker1@example.com", "worker2@example.com")


def test_expired_token_is_refused(mock, worker):
    """The same 401 for a token that ended and for one that was ended."""
    mock.expire_tokens()
    answer = worker.call("GET", "/jobs?memory=1")
    assert (answer.status_code, answer.json()) == (401, {"detail": "Not verified"})
    worker.headers["authorization"] = f"Bearer {mock.token()}"
    assert worker.claim() == {}


def test_requests_are_logged_as_they_came(mock, worker):
    """Method, raw target, status, account and whether a token came along."""
    worker.call("GET", "/files/..%2Fuser_data//x%20y/url?q=%2F")
    worker.session.get(f"{mock.url}/access_info", timeout=60)
    first, second = mock.requests()
    assert (first.method, first.target, first.status) == (
        "GET",
        "/files/..%2Fuser_data//x%20y/url?q=%2F",
        403,
    )
    assert (first.account, first.has_authorization) == ("worker1@example.com", True)
    assert (second.path, second.account, second.has_authorization) == ("/access_info", None, False)
    assert mock.requests("GET", "/files") == [first]
    mock.state.log.clear()
    assert mock.requests() == []
