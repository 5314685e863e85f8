"""Any sequence of answers in place of the API's and the login's: what they say, or an error on one line."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.adapters.tokens import CognitoTokens
from agent.adapters.worker_api import UserPool, WorkerApi
from agent.core.errors import AgentError
from agent.core.models import FileRequest, Offer, UploadKind, Word
from agent.steps import fetch_jobs
from tests.fakes.storage_server import Exchange, StorageServer, accept
from tests.hostile import tries

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, 1e308, -1, 2**64])
TEXT = st.text(st.characters(), max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["method", "url", "headers", "data", "detail", "cognito", "AuthenticationResult", "ChallengeName"]
    )
    | st.sampled_from(
        ["__type", "message", "7", "-1", "seven", "region", "client_id", "IdToken", "ExpiresIn"]
    ),
    JSON
    | st.sampled_from(["get", "http://x/", "file:///etc/passwd", "NotAuthorizedException", "eu-central-1"]),
    max_size=5,
)
LOGIN = {"AuthenticationResult": {"IdToken": "TOKENTOKEN", "ExpiresIn": 3600, "RefreshToken": "REFRESHTOKEN"}}
INFO = {"cognito": {"user_pool_id": "p", "client_id": "c", "region": "eu-central-1"}}
GOOD = st.sampled_from(
    [LOGIN, INFO, {}, "running", {"7": {}}, {"detail": "Not Found"}, {"method": "get", "url": "http://x/"}]
)
BODIES = st.one_of(
    (JSON | FIELDS | GOOD).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
    st.sampled_from([b"", b"<html>log in</html>", b"[" * 5000, b"9" * 5000, b'"\xff"', b"\xef\xbb\xbf{}"]),
)
HEADERS = st.sampled_from(
    [
        *(
            "",
            "",
            "Retry-After: 7\r\n",
            "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            "Retry-After: -1e9\r\n",
        ),
        *("Location: http://x/?token=SECRETSECRET\r\n", "Content-Encoding: gzip\r\n", "Set-Cookie: a=b\r\n"),
        *("Transfer-Encoding: chunked\r\n", "Date: noon\r\n", "x-amzn-errortype: \xff\r\n", "no colon\r\n"),
        *(
            "Content-Type: text/html; charset=\xff\r\n",
            "Connection: keep-alive, upgrade\r\n",
            ": no name\r\n",
        ),
    ]
)
STATUSES = st.sampled_from(
    [200, 200, 201, 204, 206, 301, 302, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503]
)


@dataclass(frozen=True)
class Reply:
    """One answer on the wire. `length`: added to the announced one; `cut`: how much of it comes."""

    status: int
    headers: str
    body: bytes
    length: int = 0
    cut: int | None = None

    @property
    def wire(self) -> bytes:
        length = len(self.body) + self.length
        head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {length}\r\n{self.headers}\r\n"
        return (head.encode("latin-1") + self.body)[: self.cut]


REPLIES = st.builds(
    Reply,
    STATUSES | st.integers(-1, 1200),
    HEADERS,
    BODIES,
    st.sampled_from([0, 0, 0, 5, -1, 10**18]),
    st.none() | st.none() | st.integers(0, 120),
)
ASKS: list[Callable[[WorkerApi], object]] = [
    lambda api: fetch_jobs(api, Offer(1024, 2)),
    lambda api: api.say(7, Word.RUNNING),
    lambda api: api.status(7),
    lambda api: api.download_request("/u/in"),
    lambda api: api.upload_request(7, UploadKind.OUTPUT, "out"),
    lambda api: api.access_info(),
]


@pytest.fixture(scope="module")
def server() -> Iterator[StorageServer]:
    """One for all examples; each says by `script` what it does."""
    with StorageServer(accept) as server:
        yield server


@tries(150)
@given(st.lists(REPLIES, min_size=1, max_size=4), st.sampled_from(range(len(ASKS))), st.booleans())
@example([Reply(200, "", json.dumps(LOGIN).encode()), Reply(200, "", b'{"7": 1e999}')], 0, True)
@example([Reply(204, "", b"")], 1, False)
def test_any_answers_in_any_order(
    server: StorageServer, replies: list[Reply], which: int, has_login: bool
) -> None:
    """The caller gets what it asked for, or an error of ours on one line that tells no secret."""
    left = iter(replies * 3)

    def script(exchange: Exchange) -> None:
        with suppress(StopIteration):
            exchange.send(next(left).wire)
        exchange.hang_up()

    server.script = script
    url = server.url("").rstrip("/")
    pool = UserPool(client_id="c", region="eu-central-1")
    tokens = CognitoTokens(lambda: pool, "user", "PASSWORDPASSWORD", url)
    if not has_login:
        tokens._token, tokens._renew_at = "TOKENTOKEN", float("inf")
    with WorkerApi(url, tokens, timeout_s=(20.0, 20.0)) as api:
        try:
            answer = ASKS[which](api)
        except AgentError as error:
            text = str(error)
            assert text
            assert "\n" not in text
            assert not any(word in text for word in ("SECRETSECRET", "PASSWORDPASSWORD", "TOKENTOKEN"))
        else:
            assert which != 1 or any(reply.status == 204 for reply in replies)
            assert which not in {3, 4} or isinstance(answer, FileRequest)
