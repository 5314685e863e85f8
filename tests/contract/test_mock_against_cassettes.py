"""The stand-in answers the recorded exchanges with the same status and shape.

Each cassette is replayed at a running `mock_api` over a real socket. What the stand-in makes up anew (tokens,
hosts, signatures, ETags) is learnt from its answers, by walking them beside the recorded ones, and put into
the requests that follow. Cognito and S3 were played by moto when this was recorded: their texts and media
types are not compared.
"""

import http.client
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import yaml

from mock_api.accounts import Account, AccountState
from mock_api.app import build_api
from mock_api.server import RunningMock
from mock_api.settings import Settings
from mock_api.specs import Submission
from mock_api.storage import put_bytes

CASSETTES = Path(__file__).parent / "cassettes"
WORKER1 = "worker1@example.com"
ACCOUNTS = (
    Account(WORKER1, "PASSWORD", ("workers",)),
    Account("worker2@example.com", "PASSWORD", ("workers",)),
    Account("user2@example.com", "PASSWORD", ("users",)),
    Account("nobody@example.com", "PASSWORD"),
    Account("fresh@example.com", "PASSWORD", ("workers",), state=AccountState.new_password),
)
COMPARED_HEADERS = ("accept-ranges", "content-range", "content-type", "www-authenticate", "x-amzn-errortype")
PRESENT_HEADERS = ("etag", "last-modified", "content-length")
MADE_UP = re.compile(
    r"(Token|Session|USERNAME|authorization|policy|x-amz-credential|x-amz-date|x-amz-signature)$",
    re.IGNORECASE,
)


def key_of_id(file_id: str) -> str:
    return file_id.removeprefix("s3://decode-data").removeprefix("/user_data/")


def queue_recorded_jobs(mock, exchanges):
    """Every job that an answer of the cassette holds, with its id; an answer's order is that of priority."""
    jobs = {}
    for exchange in exchanges:
        if "/jobs?" in exchange["request"]["uri"] and exchange["response"]["status"]["code"] == 200:
            answer = json.loads(exchange["response"]["body"]["string"])
            jobs |= {job_id: (spec, 5 - at) for at, (job_id, spec) in enumerate(answer.items())}
    for job_id in sorted(jobs, key=int):
        spec, priority = jobs[job_id]
        ids = list(spec["handler"]["files_down"].values())
        mock.state.user_folder, _, name, *_ = key_of_id(ids[0]).split("/")
        mock.state.submit(Submission(spec=spec, queue_id=job_id, priority=priority, name=name))
        for file_id in ids:
            put_bytes(mock.state.storage, key_of_id(file_id), b"not recorded")


def store_recorded_files(mock, exchanges):
    """Every file that the cassette downloads whole, with its bytes."""
    for exchange in exchanges:
        parts = urlsplit(exchange["request"]["uri"])
        is_file = parts.path.endswith("/download") or (
            parts.netloc == "s3.test" and parts.path != "/decode-data"
        )
        if is_file and exchange["response"]["status"]["code"] == 200:
            path = parts.path.removeprefix("/files/").removeprefix("/decode-data").removesuffix("/download")
            content = exchange["response"]["body"]["string"].encode()
            put_bytes(mock.state.storage, key_of_id(unquote(path)), content)


def queue_malformed_job(mock, _exchanges):
    """A row without its `app`, and a good job behind it, which nobody reaches."""
    spec = Submission(gpu_mem=4000).build_spec(5, "2026-11-22T09:20:36")
    del spec["app"]
    mock.submit(spec=spec)
    mock.submit(priority=1)


def store_odd_names(mock, _exchanges):
    for name in ("per%20cent.txt", "ha#sh.txt"):
        put_bytes(mock.state.storage, f"a8d2e737-680a-452f-b372-c0237e1902ec/data/names/{name}", b"1")


@dataclass(frozen=True)
class Scenario:
    """What was done by hand when a cassette was recorded: beforehand, and before the exchange of a number."""

    storage: str = "local"
    prepare: Callable[[RunningMock, list], None] = lambda _mock, _exchanges: None
    before: dict[int, Callable[[RunningMock], None]] = field(default_factory=dict)


LOCAL = Scenario()
SCENARIOS = {
    "auth_login": LOCAL,
    "auth_new_password_required": LOCAL,
    "auth_refresh": LOCAL,
    "auth_refresh_invalid": LOCAL,
    "auth_unknown_user": LOCAL,
    "auth_wrong_password": LOCAL,
    "base_path_url": LOCAL,
    "cancelled": Scenario(before={3: lambda mock: mock.cancel("9")}),
    "jobs_bad_signature_401": LOCAL,
    "jobs_empty": LOCAL,
    "jobs_expired_token_401": LOCAL,
    "jobs_garbage_token_401": LOCAL,
    "jobs_gpu_memory_vs_gpu_mem": LOCAL,
    "jobs_limit2": LOCAL,
    "jobs_malformed_row_500": Scenario(prepare=queue_malformed_job),
    "jobs_missing_memory_422": LOCAL,
    "jobs_no_group_401": LOCAL,
    "jobs_no_token_401": LOCAL,
    "jobs_not_in_workers_403": LOCAL,
    "jobs_one": LOCAL,
    "lifecycle_error": LOCAL,
    "lifecycle_local": LOCAL,
    "lifecycle_s3": Scenario("s3"),
    "missing_s3": Scenario(
        "s3",
        before={
            2: lambda mock: mock.state.storage.delete(
                "2d36cd9d-9dc1-4c77-bace-768b75088294/data/missing/frames.csv"
            )
        },
    ),
    "names_quoted": LOCAL,
    "names_unquoted_404": Scenario(prepare=store_odd_names),
    "not_assigned": LOCAL,
    "terminal_resurrect": LOCAL,
    "validation_422": LOCAL,
}


class Player:
    """Sends recorded requests with what the stand-in made up in place of what was recorded."""

    def __init__(self, mock: RunningMock) -> None:
        self.mock = mock
        bad = mock.token(WORKER1)
        self.put_in = {
            "http://wapi.test": mock.url,
            "http://cognito.test": mock.url,
            "http://s3.test": mock.storage_url,
            "ID_TOKEN_WORKER1.PAYLOAD.SIGNATURE": mock.token(WORKER1),
            "ID_TOKEN_WORKER2.PAYLOAD.SIGNATURE": mock.token("worker2@example.com"),
            "ID_TOKEN_USER2.PAYLOAD.SIGNATURE": mock.token("user2@example.com"),
            "ID_TOKEN_NOBODY.PAYLOAD.SIGNATURE": mock.token("nobody@example.com"),
            "ID_TOKEN_EXPIRED.PAYLOAD.SIGNATURE": mock.token(WORKER1, life_s=-1),
            "ID_TOKEN_BADSIGNATURE.PAYLOAD.SIGNATURE": bad[:-4] + ("AAAA" if bad[-4:] != "AAAA" else "BBBB"),
            "REFRESH_TOKEN_WORKER1": mock.state.accounts.issue_refresh_token(WORKER1),
        }

    def fill_in(self, text: str) -> str:
        for recorded in sorted(self.put_in, key=len, reverse=True):
            text = text.replace(recorded, self.put_in[recorded])
        return text

    def send(self, recorded: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """The request over a socket, its target not touched by any client's normalising."""
        url = self.fill_in(recorded["uri"])
        host, _, target = url.removeprefix("http://").partition("/")
        headers = {name: self.fill_in(values[0]) for name, values in recorded["headers"].items()}
        body = None if recorded["body"] is None else self.fill_in(recorded["body"]).encode()
        connection = http.client.HTTPConnection(host, timeout=60)
        try:
            connection.request(recorded["method"], f"/{target}", body, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def learn(self, recorded: Any, actual: Any) -> None:
        """Notes for every text of a recorded answer what the stand-in says in its place."""
        if isinstance(recorded, dict):
            for name in recorded:
                self.learn(recorded[name], actual[name])
        elif isinstance(recorded, list):
            for one, other in zip(recorded, actual, strict=True):
                self.learn(one, other)
        elif isinstance(recorded, str) and recorded != actual and len(recorded) > 5:
            self.put_in[recorded] = actual


def check_url(recorded: str, actual: str) -> None:
    """The same path; the same query, but for what signs it."""
    ours, theirs = urlsplit(actual), urlsplit(recorded)
    assert unquote(ours.path) == unquote(theirs.path)
    assert (ours.path == theirs.path) or "%" not in ours.path + theirs.path
    ours_query, theirs_query = dict(parse_qsl(ours.query)), dict(parse_qsl(theirs.query))
    assert ours_query.keys() == theirs_query.keys()
    for name in ours_query.keys() - {"X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature"}:
        assert ours_query[name] == theirs_query[name]


def check_json(recorded: Any, actual: Any, at: str, *, is_cognito: bool) -> None:
    """The same keys and types all the way down, the same values unless they are made up anew each time."""
    assert type(actual) is type(recorded), at
    if isinstance(recorded, dict):
        missing, more = recorded.keys() - actual.keys(), actual.keys() - recorded.keys()
        assert not missing, at
        assert not more or (is_cognito and not at.endswith(".AuthenticationResult")), at
        assert is_cognito or at != "$" or list(actual) == list(recorded), "jobs come in order"
        for name in recorded:
            check_json(recorded[name], actual[name], f"{at}.{name}", is_cognito=is_cognito)
    elif isinstance(recorded, list):
        assert len(actual) == len(recorded), at
        for number, pair in enumerate(zip(recorded, actual, strict=True)):
            check_json(*pair, f"{at}[{number}]", is_cognito=is_cognito)
    elif at.endswith(".url"):
        check_url(recorded, actual)
    elif (
        isinstance(recorded, str) and not MADE_UP.search(at) and not (is_cognito and at.endswith(".message"))
    ):
        version = r"errors\.pydantic\.dev/[\d.]+"
        assert re.sub(version, "", actual) == re.sub(version, "", recorded), at


def check_answer(player: Player, recorded: dict[str, Any], host: str, answer: tuple) -> None:
    status, headers, body = answer
    theirs = {name.lower(): values[0] for name, values in recorded["headers"].items()}
    text = recorded["body"]["string"]
    assert status == recorded["status"]["code"], body
    for name in COMPARED_HEADERS:
        if name != "content-type" or host == "wapi.test":
            assert headers.get(name) == theirs.get(name), name
    for name in PRESENT_HEADERS:
        if host == "wapi.test":
            assert (name in headers) == (name in theirs), name
    if "etag" in theirs:
        assert re.fullmatch(r'"[^"]+"', headers["etag"])
        player.put_in[theirs["etag"]] = headers["etag"]
    if theirs.get("content-type", "").startswith(("application/json", "application/x-amz-json")) and text:
        ours = json.loads(body)
        check_json(json.loads(text), ours, "$", is_cognito=host == "cognito.test")
        player.learn(json.loads(text), ours)
    elif text.startswith("<?xml"):
        for element in ("Code", "Key"):
            pattern = f"<{element}>.*</{element}>"
            assert re.findall(pattern, body.decode()) == re.findall(pattern, text)
    else:
        assert body == text.encode()


@pytest.mark.parametrize("name", sorted(path.stem for path in CASSETTES.glob("*.yaml")))
def test_cassette_is_answered_alike(name):
    """Status, shape and headers of every exchange in the folder; a cassette without a scenario fails."""
    scenario = SCENARIOS[name]
    exchanges = yaml.safe_load((CASSETTES / f"{name}.yaml").read_text())["interactions"]
    settings = Settings(
        storage=scenario.storage,
        user_pool_id="eu-central-1_c5310a1585234c8d931285c4a260b278",
        client_id="450943de5329402fa85e817537",
    )
    with RunningMock(settings, ACCOUNTS) as mock:
        queue_recorded_jobs(mock, exchanges)
        store_recorded_files(mock, exchanges)
        scenario.prepare(mock, exchanges)
        player = Player(mock)
        for number, exchange in enumerate(exchanges):
            scenario.before.get(number, lambda _: None)(mock)
            answer = player.send(exchange["request"])
            check_answer(player, exchange["response"], urlsplit(exchange["request"]["uri"]).netloc, answer)


def test_every_scenario_has_a_cassette():
    """A renamed cassette takes its scenario along."""
    assert SCENARIOS.keys() == {path.stem for path in CASSETTES.glob("*.yaml")}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/jobs", "get"),
        ("/jobs/{job_id}/status", "get"),
        ("/jobs/{job_id}/status", "put"),
        ("/jobs/{job_id}/files/url", "post"),
        ("/jobs/{job_id}/files/upload", "post"),
        ("/files/{file_id}/url", "get"),
        ("/files/{file_id}/download", "get"),
        ("/access_info", "get"),
    ],
)
def test_parameters_are_those_of_the_document(path, method):
    """Names, places, defaults and which are required, as in the real API's own OpenAPI document."""
    document = json.loads((CASSETTES / "openapi.json").read_text())
    with RunningMock() as mock:
        ours = build_api(mock.state, 0).openapi()["paths"][path][method]
    theirs = document["paths"][path][method]

    def parameters(operation):
        return {
            (it["name"], it["in"], it["required"], it["schema"].get("default"))
            for it in operation.get("parameters", [])
        }

    assert parameters(ours) == parameters(theirs)
    assert min(ours["responses"]) == min(theirs["responses"])
