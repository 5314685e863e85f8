"""The client against the stand-in over a real socket: faults, lost answers, hostile names, many threads."""

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from agent.adapters import worker_api
from agent.adapters.tokens import CognitoTokens, StaticToken
from agent.adapters.worker_api import WorkerApi
from agent.core.errors import AccountTrouble, ApiTrouble, JobFailed, JobGone
from agent.core.models import Offer, UploadKind, Word
from mock_api.server import RunningMock
from mock_api.settings import Settings
from tests.fakes.waiting import LONG_S, SOON_S, wait_until

OFFER = Offer(memory_mib=64000, cpu_cores=16, gpu_mem_mib=24000)
NAMES = (
    "with space.txt",
    "ha#sh.txt",
    "qu?ery=1&x.txt",
    "per%20cent%2F.txt",
    "plus+.txt",
    "-dash.txt",
    "unié☃\N{GRINNING FACE}.txt",
    "'quotes\"`$;.txt",
    "a:b@c,d.txt",
    "...",
)


@pytest.fixture(params=["local", "s3"])
def storage(request):
    return request.param


@pytest.fixture
def mock():
    with RunningMock() as running:
        yield running


@pytest.fixture
def tokens(mock):
    return CognitoTokens(lambda: pool(mock), "worker1@example.com", "worker1-password", mock.url)


def pool(mock):
    with WorkerApi(mock.url, StaticToken("")) as api:
        return api.access_info()


@pytest.fixture
def api(mock, tokens):
    with WorkerApi(mock.url, tokens, timeout_s=(LONG_S, LONG_S)) as client:
        yield client


@pytest.fixture
def job_id(mock, api):
    """The id of a job that is ours."""
    job_id = mock.submit(image="demo:2", files={"data/a.csv": b"1,2\n"})
    assert list(api.claim(OFFER, 1)) == [job_id]
    return int(job_id)


def test_life_of_a_job(mock, api, job_id):
    """Claimed, kept alive, ended; the details arrive once, with the verdict."""
    for word in (Word.PREPROCESSING, Word.RUNNING, Word.POSTPROCESSING):
        api.say(job_id, word)
        assert api.status(job_id) is word
    api.say(job_id, Word.ERROR, "exit code 3\nüber & 100 % + ☃\0")
    assert mock.job(str(job_id)).runtime_details == "exit code 3\nüber & 100 % + ☃"
    assert [mail.status for mail in mock.mails(str(job_id))] == ["error"]


@pytest.mark.parametrize("prefix", ["data/", "data/sub folder/"])
@pytest.mark.parametrize("data_root", ["/user_data", "../user_data"])
def test_hostile_names(storage, prefix, data_root):
    """Every file id leads to its own file, and the URL in the answer is fit to be sent."""
    files = {prefix + name: name.encode() for name in NAMES}
    with (
        RunningMock(Settings(storage=storage, data_root=data_root)) as mock,
        WorkerApi(mock.url, StaticToken("worker1-token")) as api,
    ):
        job_id = mock.submit(image="demo:2", files=files)
        ids = api.claim(OFFER, 1)[job_id]["handler"]["files_down"]
        assert set(ids) == set(files)
        for path, file_id in ids.items():
            request = api.download_request(file_id)
            assert fetch(request) == files[path]


def fetch(request):
    """Send the request as it is, without a client's own quoting."""
    parts = urlsplit(request.url)
    assert not parts.fragment
    connection = http.client.HTTPConnection(parts.netloc, timeout=LONG_S)
    try:
        target = request.url.partition(parts.netloc)[2]
        connection.request(request.method.upper(), target, headers=request.headers)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("base_path", ["out", "out/url/x", "out/a b", "out/ü☃", "out/a&b=c#d?e%2F+", "-x"])
def test_base_paths(mock, api, job_id, base_path):
    """The folder's name arrives as it is; `/` is never raw in the query."""
    request = api.upload_request(job_id, UploadKind.OUTPUT, base_path)
    (sent,) = mock.requests("POST", "/files/url$")
    assert "/" not in sent.query
    assert request.method == "post"


def test_a_lost_claim_is_not_sent_again(mock, api):
    """It claimed a job: asking again would claim another, and this one comes back by time-out only."""
    mock.submit(image="demo:2")
    mock.submit(image="demo:2")
    api.claim(OFFER, 0)
    mock.fault("drop", "GET", "^/jobs$", after=True)
    with pytest.raises(ApiTrouble) as caught:
        api.claim(OFFER, 1)
    assert caught.value.status is None
    assert len(mock.requests("GET", "^/jobs$")) == 2
    assert [job.status for job in mock.state.queue.jobs()] == ["pulled", "queued"]


def test_claims_and_states_never_share_a_connection(mock, api, job_id):
    """A kept-alive one that the server just closes would lose the job, one that is dead delay the word."""
    for _ in range(2):
        api.claim(OFFER, 1)
        api.say(int(job_id), Word.RUNNING)
        api.status(int(job_id))
    with pytest.raises(JobFailed):
        api.download_request("/user_data/x")
    assert [connection.sock for connection in connections_of(api._once, mock.url)] == [None]
    (kept,) = connections_of(api._kept, mock.url)
    assert kept.sock is not None


def connections_of(session, url):
    pools = session.get_adapter(url).poolmanager.pools
    (pool,) = (pools[key] for key in pools.keys())  # noqa: SIM118  not a dict
    return [connection for connection in pool.pool.queue if connection is not None]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"kind": "drop"}, "no answer from"),
        ({"kind": "hang"}, "did not answer in time"),
        ({"kind": "truncate", "at_bytes": 1}, "no answer from"),
        ({"kind": "stall", "at_bytes": 1}, "no answer from|did not answer in time"),
        ({"kind": "status", "status": 500}, "the API answers 500"),
        ({"kind": "status", "status": 503, "headers": {"Retry-After": "17"}}, "the API answers 503"),
        ({"kind": "status", "status": 404, "body": "404 page not found"}, "404: is API_URL right"),
        ({"kind": "status", "status": 200, "body": "<html>"}, "not JSON"),
        (
            {"kind": "status", "status": 302, "headers": {"Location": "http://evil.test/x?t=1"}},
            "evil.test/x: API_URL",
        ),
    ],
)
def test_faults_are_api_trouble(mock, tokens, job_id, fault, text):
    """One line each, without the query; what the other side asked for is kept; nothing is repeated."""
    name = mock.fault(method="GET", path=f"/jobs/{job_id}/status", times=None, **fault)
    patience_s = 0.5 if fault["kind"] in {"hang", "stall"} else LONG_S
    with (
        WorkerApi(mock.url, tokens, timeout_s=(LONG_S, patience_s)) as api,
        pytest.raises(ApiTrouble, match=rf"^GET /jobs/{job_id}/status: [^\n]*({text})[^\n]*$") as caught,
    ):
        api.status(job_id)
    assert caught.value.status == fault.get("status")
    assert caught.value.retry_after_s == (
        17.0 if "headers" in fault and "Retry-After" in fault["headers"] else None
    )
    wait_until(lambda: mock.state.faults.struck(name) == 1)


def test_nobody_there():
    """A refused connection is trouble with the address in it."""
    with (
        WorkerApi("http://127.0.0.1:9", StaticToken("t")) as api,
        pytest.raises(ApiTrouble, match=r"127\.0\.0\.1:9.*refused"),
    ):
        api.claim(OFFER, 1)


@pytest.mark.parametrize("url", ["http://api.invalid", "http://a..b", "http://[::1", "http://x:99999"])
def test_odd_addresses(url):
    """Whatever is wrong with the address is translated."""
    with WorkerApi(url, StaticToken("t")) as api, pytest.raises(ApiTrouble):
        api.claim(OFFER, 1)


@pytest.mark.parametrize(
    "payload",
    ['{"a": 1}', '"nonsense"', "[]", '{"method": "get", "url": 3}', "17", '{"method": "get", "url": "x"}'],
)
def test_wrong_shapes(mock, api, job_id, payload):
    """An answer of another shape is trouble with the API, never a crash."""
    mock.fault("status", status=200, body=payload, times=None)
    calls = [lambda: api.status(job_id)]
    if "url" not in payload or "3" in payload:
        calls += [
            lambda: api.download_request("/x"),
            lambda: api.upload_request(job_id, UploadKind.LOG, "log"),
            api.access_info,
        ]
    if not payload.startswith("{"):
        calls.append(lambda: api.claim(OFFER, 1))
    for call in calls:
        with pytest.raises(ApiTrouble):
            call()


def test_huge_answer(mock, api, monkeypatch):
    """The answer is read up to a bound, however much comes."""
    monkeypatch.setattr(worker_api, "ANSWER_MAX_BYTES", 1 << 20)
    mock.fault("status", status=200, body=f'"{"x" * (2 << 20)}"')
    with pytest.raises(ApiTrouble, match="over 1 MiB"):
        api.claim(OFFER, 1)


def test_dripping_answer(mock, api, monkeypatch):
    """A byte now and then does not hold a thread for ever."""
    monkeypatch.setattr(worker_api, "ANSWER_MAX_S", 0.5)
    mock.submit(image="demo:2")
    mock.fault("slow", "GET", "^/jobs$", bytes_per_s=2)
    began = time.monotonic()
    with pytest.raises(ApiTrouble, match="the answer took over"):
        api.claim(OFFER, 1)
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_401_once(mock, api, job_id, method):
    """Every request is sent once more with a new token, a claim too: a 401 claimed nothing."""
    mock.expire_tokens()
    mock.state.log.clear()
    match method:
        case "GET":
            mock.submit(image="demo:2")
            assert len(api.claim(OFFER, 1)) == 1
        case "PUT":
            api.say(job_id, Word.RUNNING)
        case "POST":
            api.upload_request(job_id, UploadKind.OUTPUT, "out")
    statuses = [request.status for request in mock.requests(method, "^/jobs")]
    assert statuses == [401, {"GET": 200, "PUT": 204, "POST": 201}[method]]


def test_401_that_stays(mock):
    """A token for which there is no other is not tried twice."""
    with WorkerApi(mock.url, StaticToken("garbage")) as api:
        with pytest.raises(AccountTrouble, match="check ACCESS_TOKEN"):
            api.claim(OFFER, 1)
        assert len(mock.requests()) == 1


def test_confirmation_is_noticed_without_a_restart(mock):
    """The groups stand in the token: after a 403 the next request goes with a new one."""
    account = mock.state.accounts.find("user2@example.com")
    tokens = CognitoTokens(lambda: pool(mock), account.username, account.password, mock.url)
    with WorkerApi(mock.url, tokens) as api:
        for _ in range(2):
            with pytest.raises(AccountTrouble, match="confirmed by an administrator"):
                api.claim(OFFER, 1)
        logins = mock.requests("POST", "^/$")
        assert len(logins) == 2  # the first one, and one because of the 403; more only after a pause


def test_deleted_job(mock, api, job_id):
    """404, then 500, and GET status says 404; the URL for an upload is a 500."""
    mock.cancel(str(job_id))
    with pytest.raises(JobGone):
        api.say(job_id, Word.RUNNING)
    with pytest.raises(ApiTrouble, match="500"):
        api.say(job_id, Word.RUNNING)
    with pytest.raises(JobGone):
        api.status(job_id)
    with pytest.raises(ApiTrouble, match="500"):
        api.upload_request(job_id, UploadKind.OUTPUT, "out")


@pytest.mark.parametrize(
    ("file_id", "text"),
    [
        ("/user_data/nothing.csv", "the API has no file '/user_data/nothing.csv'"),
        ("/etc/passwd", "input missing"),
        ("../../etc/passwd", "input missing"),
        ("\ud800", "is not text"),
        ("", "input missing|answers 404"),
        ("a" * 5000, "…: "),
    ],
)
def test_inputs_that_are_not_there(api, file_id, text):
    """The job's own fault, with the id in the text."""
    with pytest.raises(JobFailed, match=text):
        api.download_request(file_id)


def test_no_credentials_from_netrc(mock, api, tmp_path, monkeypatch):
    """The library would send what ~/.netrc has for the host, in place of our token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    api.access_info()
    api.claim(OFFER, 1)
    by_path = {request.path: request for request in mock.requests()}
    assert not by_path["/access_info"].has_authorization
    assert not by_path["/"].has_authorization
    assert by_path["/jobs"].account == "worker1@example.com"


def test_cookies_are_not_kept(mock, api):
    """Nothing that one answer sets reaches another request."""
    mock.fault("status", status=200, body="{}", path="^/jobs$", headers={"Set-Cookie": "a=b"})
    api.claim(OFFER, 1)
    assert not api._once.cookies


@pytest.mark.parametrize(
    ("status", "body"), [(200, "<html>log in</html>"), (200, "{}"), (200, "null"), (201, '"ok"'), (202, "")]
)
def test_a_word_is_heard_only_by_the_apis_own_answer(mock, api, job_id, status, body):
    """A network's login page says 200 to everything; a verdict that it swallowed would be lost."""
    mock.fault("status", "PUT", "/status$", status=status, body=body)
    with pytest.raises(ApiTrouble, match=f"{status} is not how the API accepts it"):
        api.say(int(job_id), Word.RUNNING)
    api.say(int(job_id), Word.RUNNING)


@pytest.mark.parametrize("body", ['{"message":"Not Found"}', "[]", '"Not Found"', "<html>"])
def test_a_404_of_somebody_else_kills_no_job(mock, api, job_id, body):
    """A gateway that has lost its way speaks JSON too; the API's own word is `detail`."""
    mock.fault("status", "PUT", "/status$", status=404, body=body)
    with pytest.raises(ApiTrouble, match="404"):
        api.say(int(job_id), Word.RUNNING)


def test_path_prefix(mock):
    """An API behind a prefix: the prefix stays, for claims too."""
    with WorkerApi(f"{mock.url}/prefix/", StaticToken("worker1-token")) as api:
        with pytest.raises(ApiTrouble, match="404"):
            api.claim(OFFER, 1)
        with pytest.raises(JobFailed):
            api.download_request("/user_data/x")
    assert [request.path for request in mock.requests()] == ["/prefix/jobs", "/prefix/files//user_data/x/url"]


def test_many_threads(mock, api, job_id):
    """One client serves all of the agent's threads; the first of them logs in for all."""
    barrier = threading.Barrier(16)

    def work(_):
        barrier.wait()
        for _ in range(10):
            api.say(job_id, Word.RUNNING)
            assert api.status(job_id) is Word.RUNNING

    with ThreadPoolExecutor(16) as executor:
        list(executor.map(work, range(16)))
    assert len(mock.requests("POST", "^/$")) == 1
    assert {request.status for request in mock.requests(path="^/jobs/")} == {200, 204}


def test_errors_hold_no_token(mock, api, job_id, tokens):
    """Neither the token nor what a request carried is in an error's text or its causes."""
    mock.fault("drop", path="/status", times=None)
    with pytest.raises(ApiTrouble) as caught:
        api.say(job_id, Word.ERROR, "private details")
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert tokens.token() not in str(error)
    assert "private" not in str(error)
