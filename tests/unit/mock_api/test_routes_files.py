"""Local storage over a socket: what the recorded exchanges do not show."""

from urllib.parse import quote

import pytest

from mock_api.server import RunningMock
from mock_api.settings import Settings


def url_path(file_id, what="url"):
    return f"/files/{quote(file_id, safe='/:')}/{what}"


@pytest.fixture
def job_id(mock, worker):
    job_id = mock.submit()
    worker.claim()
    return job_id


def upload(worker, job_id, name, content=b"1", base_path="output"):
    """The status code of an upload."""
    described = worker.call("POST", f"/jobs/{job_id}/files/url?type=output&base_path={base_path}").json()
    return worker.follow(described, files={"file": (name, content)}).status_code


def test_url_holds_the_name_unquoted(mock, worker):
    """Whoever follows it blindly asks for another file."""
    file_id = mock.state.put_file("data/a b#c?d%20e.txt", b"content")
    described = worker.call("GET", url_path(file_id)).json()
    assert described["url"] == f"{mock.url}/files/{file_id}/download"
    assert worker.call("GET", url_path(file_id, "download")).content == b"content"


def test_relative_data_folder(worker_of):
    """Ids begin with `../`, which must come quoted or the client normalises it away."""
    with RunningMock(Settings(data_root="../user_data")) as mock:
        worker = worker_of(mock, "worker1@example.com")
        file_id = mock.state.put_file("data/x", b"1")
        assert file_id.startswith("../user_data/")
        assert worker.call("GET", f"/files/{quote(file_id)}/url").status_code == 404
        quoted = f"..%2F{quote(file_id.removeprefix('../'))}"
        assert worker.call("GET", f"/files/{quoted}/url").status_code == 200
        assert worker.call("GET", f"/files/{quoted}/download").content == b"1"


def test_head_is_not_allowed(mock, worker):
    """405, with the method that is."""
    file_id = mock.state.put_file("x", b"1")
    answer = worker.call("HEAD", url_path(file_id, "download"))
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_missing_file_and_directory(mock, worker):
    """Nothing: 404 twice. A directory: a URL, then a 500."""
    folder = mock.state.put_file("data/x", b"1").removesuffix("/x")
    assert worker.call("GET", url_path(f"{folder}/y")).status_code == 404
    assert worker.call("GET", url_path(f"{folder}/y", "download")).status_code == 404
    assert worker.call("GET", url_path(folder)).status_code == 200
    assert worker.call("GET", url_path(folder, "download")).status_code == 500


def test_nothing_outside_the_data_folder(worker):
    """Neither by an absolute id nor by climbing."""
    for file_id in ("/etc/passwd", "/user_data/../../etc/passwd", "s3://decode-data/x"):
        assert worker.call("GET", f"/files/{quote(file_id, safe='')}/url").status_code == 403


@pytest.mark.parametrize(
    ("headers", "status", "content"),
    [
        ({"range": "bytes=2-3"}, 206, b"23"),
        ({"range": "bytes=-2"}, 206, b"89"),
        ({"range": "bytes=2-", "if-range": '"other"'}, 200, b"0123456789"),
        ({"range": "bytes=10-"}, 416, b""),
        ({"range": "nonsense"}, 200, b"0123456789"),
    ],
)
def test_ranges(mock, worker, headers, status, content):
    """206 with what was asked for, all of it where the file is another by now."""
    file_id = mock.state.put_file("x", b"0123456789")
    answer = worker.call("GET", url_path(file_id, "download"), headers=headers)
    assert (answer.status_code, answer.content) == (status, content)
    assert int(answer.headers["content-length"]) == len(content)


def test_empty_file(mock, worker):
    """A body of no bytes, and an upload of none."""
    file_id = mock.state.put_file("x", b"")
    assert worker.call("GET", url_path(file_id, "download")).content == b""


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3_000_000])
def test_upload_and_download_keep_every_byte(mock, worker, job_id, size):
    """Whatever the size, with bytes that look like line breaks."""
    content = bytes(at % 251 for at in range(size)).replace(b"\x07", b"\n").replace(b"\x08", b"\r")
    assert upload(worker, job_id, "x.bin", content) == 201
    assert mock.output(job_id, "output/x.bin") == content
    file_id = mock.state.storage.file_id(f"{mock.state.user_folder}/output/job1/output/x.bin")
    assert worker.call("GET", url_path(file_id, "download")).content == content


def test_uploading_again_overwrites(mock, worker, job_id):
    """Repeating is safe."""
    assert [upload(worker, job_id, "x", content) for content in (b"first", b"2")] == [201, 201]
    assert mock.output(job_id, "output/x") == b"2"
    assert [output.size_bytes for output in mock.outputs(job_id)] == [1]


def test_raw_slash_url_in_base_path_is_replaced(mock, worker, job_id):
    """The file lands in another folder, unless the slash is quoted."""
    upload(worker, job_id, "x", base_path="output/url/deep")
    upload(worker, job_id, "x", base_path="output%2Furl%2Fdeep")
    assert [output.path for output in mock.outputs(job_id)] == ["output/upload/deep/x", "output/url/deep/x"]


def test_url_without_base_path_leads_to_422(worker, job_id):
    """The request of the answer lacks it."""
    described = worker.call("POST", f"/jobs/{job_id}/files/url?type=log").json()
    answer = worker.follow(described, files={"file": ("x", b"1")})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "base_path"])


def test_form_without_file_is_422(worker, job_id):
    """As FastAPI says it."""
    path = f"/jobs/{job_id}/files/upload?type=log&base_path=log"
    for arguments in ({"files": {"other": ("x", b"1")}}, {"data": b"1"}, {"data": {"file": "text"}}):
        answer = worker.call("POST", path, **arguments)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "file"])


def test_names_arrive_as_the_client_quotes_them(mock, worker, job_id):
    """`"` and line breaks arrive changed; more than 255 bytes is a 500."""
    for name in ('say "hi"\n.txt', "-dash +plus.txt", "ünï ☃.txt"):
        assert upload(worker, job_id, name) == 201
    assert upload(worker, job_id, "x" * 256) == 500
    names = [output.path.removeprefix("output/") for output in mock.outputs(job_id)]
    assert names == ["-dash +plus.txt", "say %22hi%22%0A.txt", "ünï ☃.txt"]


@pytest.mark.parametrize("name", ["../x", "a/b", ".."])
def test_name_with_a_path_is_refused(mock, worker, job_id, name):
    """The stand-in writes nowhere else."""
    assert upload(worker, job_id, name) == 500
    assert mock.outputs(job_id) == []


def test_strangers_get_500(mock, worker, other_worker, job_id):
    """Not yours and gone are 500 at both, and uploads work even after the end."""
    path = f"/jobs/{job_id}/files/url?type=output&base_path=output"
    assert other_worker.call("POST", path).status_code == 500
    assert worker.call("POST", path.replace("output&", "..%2F..%2F..&")).status_code == 422
    assert worker.call("POST", f"{path}%2F..%2F..%2F..%2F..").status_code == 500
    worker.put(job_id, "finished")
    assert upload(worker, job_id, "x") == 201
    mock.cancel(job_id)
    assert worker.call("POST", path).status_code == 201
    worker.put(job_id, "running")
    assert worker.call("POST", path).status_code == 500


def test_every_route_wants_a_token(mock, worker):
    """401 comes before anything else is looked at."""
    worker.headers = {}
    for method, path in (
        ("GET", "/jobs"),
        ("GET", "/jobs/1/status"),
        ("PUT", "/jobs/1/status"),
        ("GET", "/files/x/url"),
        ("GET", "/files/x/download"),
        ("POST", "/jobs/1/files/url"),
        ("POST", "/jobs/1/files/upload"),
    ):
        assert worker.call(method, path).status_code == 401
    assert mock.requests("PUT")[0].has_authorization is False
