"""The client sends what was recorded at the real API, to the letter of the URI, and reads its answers."""

from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import vcr

from agent.adapters.tokens import CognitoTokens, StaticToken
from agent.adapters.worker_api import UserPool, WorkerApi
from agent.core.errors import AccountTrouble, ApiTrouble, JobFailed, JobGone
from agent.core.intake import parse_job
from agent.core.models import Job, Offer, UploadKind, Word

FOLDER = Path(__file__).parent / "cassettes"
API = "http://wapi.test"
OFFER = Offer(memory_mib=24000, cpu_cores=8, gpu_mem_mib=8192)
USER_DATA = "/user_data/a8d2e737-680a-452f-b372-c0237e1902ec"
S3_DATA = "s3://decode-data/user_data/2d36cd9d-9dc1-4c77-bace-768b75088294"
POOL = UserPool(client_id="450943de5329402fa85e817537", region="eu-central-1")

NOT_THE_CLIENTS = {
    "jobs_no_token_401": "the client always sends a token",
    "jobs_missing_memory_422": "the client always names the memory",
    "names_unquoted_404": "how not to do it",
    "validation_422": "words and kinds that the client does not have",
}


class Client:
    """A client of one account, and the cassette that answers it."""

    def __init__(self, stack: ExitStack, cassette: "vcr.cassette.Cassette") -> None:
        self._stack = stack
        self.cassette = cassette
        self.api = self.of("WORKER1")

    def of(self, account: str) -> WorkerApi:
        return self.of_token(f"ID_TOKEN_{account}.PAYLOAD.SIGNATURE")

    def of_token(self, token: str) -> WorkerApi:
        return self._stack.enter_context(WorkerApi(API, StaticToken(token)))

    def claim(self) -> Job:
        ((key, raw),) = self.api.claim(OFFER, 1).items()
        job = parse_job(key, raw)
        assert isinstance(job, Job)
        return job

    def rest(self) -> list[str]:
        """What was recorded and not asked for, as `METHOD URI`."""
        played = self.cassette.play_counts
        return [
            f"{request.method} {request.uri}"
            for place, request in enumerate(self.cassette.requests)
            if not played[place]
        ]


@contextmanager
def play(name, *, match_on=("method", "uri", "bearer")):
    recorder = vcr.VCR(record_mode=vcr.mode.NONE)
    recorder.register_matcher("bearer", _match_bearer)
    with ExitStack() as stack, recorder.use_cassette(str(FOLDER / f"{name}.yaml"), match_on=match_on) as tape:
        yield Client(stack, tape)


def _match_bearer(sent, recorded):
    assert sent.headers.get("Authorization") == recorded.headers.get("Authorization")


def tokens_of(username, password):
    return CognitoTokens(lambda: POOL, username, password, "http://cognito.test")


@contextmanager
def play_login(name):
    """Answers logins that are equal to the recorded ones, body and headers included."""
    recorder = vcr.VCR(record_mode=vcr.mode.NONE)
    recorder.register_matcher("headers", _match_headers)
    with recorder.use_cassette(str(FOLDER / f"{name}.yaml"), match_on=("method", "uri", "body", "headers")):
        yield


def _match_headers(sent, recorded):
    for name in ("X-Amz-Target", "Content-Type", "Authorization"):
        assert sent.headers.get(name) == recorded.headers.get(name)


def test_login():
    """From /access_info to a claim with the ID token."""
    with ExitStack() as stack, play_login("auth_login"):
        tokens = CognitoTokens(
            lambda: api.access_info(),  # noqa: PLW0108  `api` needs `tokens` first
            "worker1@example.com",
            "PASSWORD",
            "http://cognito.test",
        )
        api = stack.enter_context(WorkerApi(API, tokens))
        assert api.claim(OFFER, 1) == {}
        assert tokens.token() == "ID_TOKEN_WORKER1.PAYLOAD.SIGNATURE"


@pytest.mark.parametrize(
    ("name", "username", "password", "text"),
    [
        ("auth_wrong_password", "worker1@example.com", "WRONG_PASSWORD", "refuses USERNAME and PASSWORD"),
        ("auth_unknown_user", "nosuch@example.com", "PASSWORD", "knows no such USERNAME"),
        ("auth_new_password_required", "fresh@example.com", "PASSWORD", "still has its first password"),
    ],
)
def test_refused_logins(name, username, password, text):
    """Each says what the account's owner has to do."""
    with play_login(name), pytest.raises(AccountTrouble, match=text):
        tokens_of(username, password).token()


def test_refresh():
    """The answer to a refresh holds no refresh token: the old one stays."""
    tokens = tokens_of("worker1@example.com", "PASSWORD")
    tokens._refresh_token = "REFRESH_TOKEN_WORKER1"
    with play_login("auth_refresh"):
        assert tokens.token() == "ID_TOKEN_WORKER1.PAYLOAD.SIGNATURE"
    assert tokens._refresh_token == "REFRESH_TOKEN_WORKER1"


def test_refused_refresh():
    """A revoked refresh token is dropped; the password comes next (which this cassette does not hold)."""
    tokens = tokens_of("worker1@example.com", "PASSWORD")
    tokens._refresh_token = "REFRESH_TOKEN_INVALID"
    missing = pytest.raises(vcr.errors.CannotOverwriteExistingCassetteException, match="body differs")
    with play_login("auth_refresh_invalid"), missing:
        tokens.token()
    assert tokens._refresh_token is None


@pytest.mark.parametrize("name", ["jobs_empty", "jobs_one"])
def test_claim(name):
    """No job, one job."""
    with play(name) as client:
        jobs = client.api.claim(OFFER, 1)
        assert [parse_job(key, raw) for key, raw in jobs.items() if key != "1"] == []
        assert not client.rest()


def test_claim_of_two():
    """Two jobs in one answer; then none are left."""
    with play("jobs_limit2") as client:
        assert [len(client.api.claim(OFFER, limit)) for limit in (2, 2)] == [2, 0]


def test_gpu_memory_goes_by_its_right_name():
    """`gpu_memory`, as the old worker sent it, is ignored and gets nothing."""
    with play("jobs_gpu_memory_vs_gpu_mem") as client:
        assert client.claim().spec.hardware.gpu_mem is not None
        (unsent,) = client.rest()
        assert "gpu_memory=" in unsent


@pytest.mark.parametrize(
    ("name", "token", "text"),
    [
        ("jobs_garbage_token_401", "garbage", "the API refuses the token.*401 Not authenticated"),
        (
            "jobs_bad_signature_401",
            "ID_TOKEN_BADSIGNATURE.PAYLOAD.SIGNATURE",
            "refuses the token.*401 Not verified",
        ),
        ("jobs_expired_token_401", "ID_TOKEN_EXPIRED.PAYLOAD.SIGNATURE", "has expired.*401 Not verified"),
        (
            "jobs_no_group_401",
            "ID_TOKEN_NOBODY.PAYLOAD.SIGNATURE",
            "to be confirmed by an administrator.*401",
        ),
        (
            "jobs_not_in_workers_403",
            "ID_TOKEN_USER2.PAYLOAD.SIGNATURE",
            "to be confirmed by an administrator.*403",
        ),
    ],
)
def test_refused_accounts(name, token, text):
    """The recorded words of the API become words for the account's owner; nothing is sent twice."""
    with play(name) as client, pytest.raises(AccountTrouble, match=text):
        client.of_token(token).claim(OFFER, 1)


def test_malformed_row():
    """A 500 for a claim is trouble, told on one line."""
    with play("jobs_malformed_row_500") as client:
        for _ in range(2):
            with pytest.raises(
                ApiTrouble, match=r"^GET /jobs: the API answers 500 1 validation .*$"
            ) as caught:
                client.api.claim(OFFER, 1)
            assert caught.value.status == 500


@pytest.mark.parametrize(
    ("name", "ids", "words"),
    [
        (
            "lifecycle_local",
            [f"{USER_DATA}/config/lifecycle/param.yaml", f"{USER_DATA}/data/lifecycle/frames.csv"],
            (Word.RUNNING, Word.RUNNING, Word.POSTPROCESSING),
        ),
        (
            "lifecycle_s3",
            [f"{S3_DATA}/config/lifecycle/param.yaml", f"{S3_DATA}/data/lifecycle/frames 1.csv"],
            (Word.RUNNING, Word.POSTPROCESSING),
        ),
    ],
)
def test_lifecycle(name, ids, words):
    """A job from claim to verdict: all that was recorded but the transfers themselves."""
    with play(name) as client:
        api, job = client.api, client.claim()
        assert set((job.spec.handler.files_down or {}).values()) == set(ids)
        api.say(job.id, Word.PREPROCESSING)
        urls = {api.download_request(one).url for one in ids}
        for word in words:
            api.say(job.id, word)
        urls.add(api.upload_request(job.id, UploadKind.OUTPUT, "output/sub").url)
        urls.add(api.upload_request(job.id, UploadKind.LOG, "log").url)
        api.say(job.id, Word.FINISHED)
        assert {line.partition(" ")[2] for line in client.rest()} == urls


def test_error_with_details():
    """Newlines, spaces, unicode, `&` and `%` in the details arrive as recorded."""
    with play("lifecycle_error") as client:
        job = client.claim()
        for word in (Word.PREPROCESSING, Word.RUNNING, Word.POSTPROCESSING):
            client.api.say(job.id, word)
        details = (
            "exit code 3\nTraceback (most recent call last):\n"
            "  ValueError: \N{GREEK SMALL LETTER SIGMA} must be > 0 & < 5 µm (100%) ☃"
        )
        client.api.say(job.id, Word.ERROR, details)
        assert not client.rest()


def test_cancelled():
    """404, then 500 for the same news, 404 from GET status; an upload's URL is a 500."""
    with play("cancelled") as client:
        job = client.claim()
        client.api.say(job.id, Word.PREPROCESSING)
        client.api.say(job.id, Word.RUNNING)
        with pytest.raises(JobGone, match="job 9 is not ours any more"):
            client.api.say(job.id, Word.RUNNING)
        with pytest.raises(ApiTrouble) as caught:
            client.api.say(job.id, Word.RUNNING)
        assert caught.value.status == 500
        with pytest.raises(JobGone):
            client.api.status(job.id)
        with pytest.raises(ApiTrouble, match="500"):
            client.api.upload_request(job.id, UploadKind.OUTPUT, "output")
        assert not client.rest()


def test_not_assigned():
    """Another worker hears 404; a job that was given back goes to the other one."""
    with play("not_assigned") as client:
        job, other = client.claim(), client.of("WORKER2")
        client.api.say(job.id, Word.PREPROCESSING)
        with pytest.raises(JobGone):
            other.say(job.id, Word.RUNNING)
        with pytest.raises(ApiTrouble, match="500"):
            other.upload_request(job.id, UploadKind.OUTPUT, "output")
        client.api.say(job.id, Word.QUEUED)
        assert client.api.claim(OFFER, 1) == {}
        assert list(other.claim(OFFER, 1)) == [str(job.id)]
        with pytest.raises(JobGone):
            client.api.say(job.id, Word.RUNNING)
        assert not client.rest()


def test_resurrection():
    """The API takes `running` after `finished`: the client does not know better, its callers must."""
    with play("terminal_resurrect") as client:
        job = client.claim()
        client.api.say(job.id, Word.RUNNING)
        client.api.say(job.id, Word.FINISHED)
        assert client.api.status(job.id) is Word.FINISHED
        client.api.say(job.id, Word.RUNNING)
        assert client.api.status(job.id) is Word.RUNNING
        assert not client.rest()


def test_names_are_quoted():
    """Ids go as recorded; the URLs in the answers, which come unquoted, go on quoted."""
    with play("names_quoted") as client:
        job = client.claim()
        for file_id in (job.spec.handler.files_down or {}).values():
            if "/config/" not in file_id:
                request = client.api.download_request(file_id)
                assert "#" not in request.url
                assert "?" not in request.url
        assert all(line.endswith("/download") for line in client.rest())


def test_base_path_is_quoted():
    """`/` goes as `%2F`, or the server would replace `/url` in the folder's name."""
    with play("base_path_url") as client:
        job = client.claim()
        request = client.api.upload_request(job.id, UploadKind.OUTPUT, "output/url/x")
        assert request.url == f"{API}/jobs/13/files/upload?type=output&base_path=output%2Furl%2Fx"
        assert f"POST {request.url}" in client.rest()


def test_missing_in_s3():
    """No such key and another bucket are the job's fault; a URL may come all the same."""
    file_id = f"{S3_DATA}/data/missing/frames.csv"
    with play("missing_s3") as client:
        client.claim()
        assert client.api.download_request(file_id).headers == {}
        with pytest.raises(JobFailed, match=r"input missing: the API has no file 's3://.*frames.csv'"):
            client.api.download_request(file_id)
        with pytest.raises(JobFailed, match="refuses the file 's3://other-bucket/x': Bucket does not match"):
            client.api.download_request("s3://other-bucket/x")


def test_every_cassette_is_played():
    """A cassette that is added is answered here, or listed with the reason why not."""
    text = Path(__file__).read_text()
    recorded = {path.stem for path in FOLDER.glob("*.yaml")}
    assert NOT_THE_CLIENTS.keys() <= recorded
    assert {name for name in recorded if f'"{name}"' not in text} == set()
