"""The S3-like storage: what moto did not play, by AWS's documentation."""

import re
from urllib.parse import quote

import pytest


@pytest.fixture
def mock(s3_mock):
    return s3_mock


@pytest.fixture
def worker(s3_worker):
    return s3_worker


@pytest.fixture
def job_id(mock, worker):
    job_id = mock.submit()
    worker.claim()
    return job_id


def code_of(answer):
    assert answer.headers["content-type"] == "application/xml"
    return answer.status_code, re.findall("<Code>(.*)</Code>", answer.text)[0]


def download_of(mock, worker, name="data/a b#c%20.csv"):
    """The answer that describes the download of a new file."""
    file_id = mock.state.put_file(name, b"0123456789")
    return worker.call("GET", f"/files/{quote(file_id, safe='/:')}/url").json()


def form_of(worker, job_id, base_path="output"):
    """The answer that describes the upload of a folder's files."""
    return worker.call("POST", f"/jobs/{job_id}/files/url?type=output&base_path={base_path}").json()


def test_url_is_quoted_and_lives_on_another_port(mock, worker):
    """It can be followed as it stands, with no header at all."""
    described = download_of(mock, worker)
    assert described["headers"] == {}
    assert described["url"].startswith(f"{mock.storage_url}/decode-data/")
    assert "/a%20b%23c%2520.csv?" in described["url"]
    answer = worker.follow(described)
    assert (answer.content, answer.headers["accept-ranges"]) == (b"0123456789", "bytes")
    assert mock.storage_url != mock.url
    assert mock.requests(path="^/decode-data")[0].is_storage


def test_ranges(mock, worker):
    """206 for the ETag that the object has."""
    described = download_of(mock, worker)
    etag = worker.follow(described).headers["etag"]
    for if_range, status in ((etag, 206), ('"other"', 200)):
        answer = worker.session.get(
            described["url"], headers={"range": "bytes=4-", "if-range": if_range}, timeout=60
        )
        assert answer.status_code == status


def test_expired_url(mock, worker):
    """403 once its life is over, however the object is."""
    described = download_of(mock, worker)
    mock.advance(599)
    assert worker.follow(described).status_code == 200
    mock.advance(2)
    answer = worker.follow(described)
    assert code_of(answer) == (403, "AccessDenied")
    assert "<Message>Request has expired</Message>" in answer.text


def test_two_ways_in_are_refused(mock, worker, job_id):
    """A token beside the signature: 400 for downloads and uploads."""
    described = download_of(mock, worker)
    assert code_of(worker.session.get(described["url"], headers=worker.headers, timeout=60)) == (
        400,
        "InvalidArgument",
    )
    form = form_of(worker, job_id)
    answer = worker.session.post(
        form["url"], form["data"], files={"file": ("x", b"1")}, headers=worker.headers, timeout=60
    )
    assert code_of(answer) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda url: url.replace("a%20b", "a%2520b"), "SignatureDoesNotMatch"),
        (lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("Expires=600", "Expires=9999"), "SignatureDoesNotMatch"),
        (lambda url: url.partition("?")[0], "AccessDenied"),
    ],
)
def test_changed_url_is_refused(mock, worker, change, code):
    """Quoting it a second time is such a change."""
    url = change(download_of(mock, worker)["url"])
    assert code_of(worker.session.get(url, timeout=60)) == (403, code)


def test_missing_things(mock, worker):
    """A key that is none, a prefix, another bucket, an id that is none of S3's."""
    described = download_of(mock, worker, "data/x")
    prefix = f"s3://decode-data/user_data/{mock.state.user_folder}/data"
    assert worker.call("GET", f"/files/{prefix}/y/url").status_code == 404
    assert worker.call("GET", "/files/s3://other/x/url").status_code == 403
    assert worker.call("GET", "/files//user_data/x/url").status_code == 403
    folder = worker.call("GET", f"/files/{prefix}/url")
    assert code_of(worker.follow(folder.json())) == (404, "NoSuchKey")
    mock.state.storage.delete(f"{mock.state.user_folder}/data/x")
    assert code_of(worker.follow(described)) == (404, "NoSuchKey")
    assert code_of(worker.session.get(f"{mock.storage_url}/other/x", timeout=60)) == (404, "NoSuchBucket")
    assert code_of(worker.session.delete(f"{mock.storage_url}/decode-data/x", timeout=60))[0] == 405


def test_one_form_serves_a_folder(mock, worker, job_id):
    """Any number of files, any name; S3 takes what follows the last slash."""
    form = form_of(worker, job_id, "output%2Fsub")
    assert form["headers"] == {}
    for name in ("a.csv", "b #%20.csv", "deep/c.csv", "x" * 300):
        answer = worker.follow(form, data=form["data"], files={"file": (name, b"1")})
        assert (answer.status_code, answer.content) == (204, b"")
    paths = [output.path for output in mock.outputs(job_id)]
    assert paths == [f"output/sub/{name}" for name in ("a.csv", "b #%20.csv", "c.csv", "x" * 300)]
    assert mock.output(job_id, "output/sub/a.csv") == b"1"


def test_file_must_be_the_last_field(mock, worker, job_id):
    """Fields behind it are ignored, so the policy is missing."""
    form = form_of(worker, job_id)
    fields = {"file": ("x", b"1")} | {name: (None, value) for name, value in form["data"].items()}
    assert code_of(worker.follow(form, files=fields)) == (403, "AccessDenied")
    assert mock.outputs(job_id) == []


def test_length_is_required(worker, job_id):
    """S3 takes no chunked form: 411."""
    form = form_of(worker, job_id)
    assert code_of(worker.follow(form, data=iter([b"x"]))) == (411, "MissingContentLength")


def test_too_large_a_file(mock, worker, job_id):
    """Refused before a byte of it is read, or when it turns out to be one byte too long."""
    mock.state.settings.s3_max_post_bytes = 100_000
    form = form_of(worker, job_id)
    for size, status in ((100_000, 204), (100_001, 400), (400_000, 400)):
        answer = worker.follow(form, data=form["data"], files={"file": ("x", b"1" * size)})
        assert answer.status_code == status
    assert code_of(answer) == (400, "EntityTooLarge")
    assert [output.size_bytes for output in mock.outputs(job_id)] == [100_000]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"key": "user_data/elsewhere/${filename}"}, "AccessDenied"),
        ({"x-amz-date": "20200101T000000Z"}, "AccessDenied"),
        ({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch"),
        ({"acl": "public-read"}, "AccessDenied"),
    ],
)
def test_form_must_be_the_signed_one(worker, job_id, change, code):
    """Another key, another date, another signature, one field more."""
    form = form_of(worker, job_id)
    answer = worker.follow(form, data=form["data"] | change, files={"file": ("x", b"1")})
    assert code_of(answer) == (403, code)


def test_expired_form(mock, worker, job_id):
    """The policy has an end too."""
    form = form_of(worker, job_id)
    mock.advance(601)
    answer = worker.follow(form, data=form["data"], files={"file": ("x", b"1")})
    assert code_of(answer) == (403, "AccessDenied")
    assert "Policy expired" in answer.text


def test_no_form_at_all(worker, job_id):
    """A body that is no form, and a form without a file."""
    form = form_of(worker, job_id)
    assert code_of(worker.follow(form, data=b"1")) == (400, "MalformedPOSTRequest")
    fields = {name: (None, value) for name, value in form["data"].items()}
    assert code_of(worker.follow(form, files=fields)) == (400, "InvalidArgument")


def test_local_download_does_not_serve_the_bucket(mock, worker):
    """There is one way to the files only."""
    file_id = mock.state.put_file("x", b"1")
    assert worker.call("GET", f"/files/{file_id}/download").status_code == 404
