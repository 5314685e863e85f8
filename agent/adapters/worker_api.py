"""The worker-facing API over HTTP: one method, one request; see docs/protocol.md for what it answers."""

import time
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import urlencode

import requests
from pydantic import BaseModel, ConfigDict, ValidationError
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, ReadTimeoutError

from agent.core.errors import AccountTrouble, AgentError, ApiTrouble, JobFailed, JobGone
from agent.core.models import FileRequest, Offer, UploadKind, Word
from agent.core.urls import quote_returned_url
from agent.core.wire import (
    Answer,
    News,
    claim_query,
    fit_details,
    json_of,
    one_line,
    quote_file_id,
    refusal_of,
    retry_after_of,
)
from agent.ports import Tokens

FOREIGN = (OSError, HTTPError, HTTPException, ValueError)  # those of requests are OSErrors
ANSWER_MAX_BYTES = 16 * 1024 * 1024
ANSWER_MAX_S = 60.0
_NO_NEWS: News = MappingProxyType({})


class UserPool(BaseModel):
    """Where the accounts of an API log in."""

    model_config = ConfigDict(frozen=True)

    user_pool_id: str = ""
    client_id: str
    region: str


class _AccessInfo(BaseModel):
    cognito: UserPool


class _Refused(OSError):
    """We do not take this answer."""


class _Bearer(AuthBase):
    """Sends our token or none; without an auth object requests would add what it finds in ~/.netrc."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class WorkerApi:
    """Fulfils `agent.ports.JobApi`; many threads may use it at once.

    Args:
        base_url: where the API is; a path before `/jobs` is kept.
        tokens: where the bearer token comes from; it is sent to `base_url` alone.
        timeout_s: seconds to wait for the connection, and for each next byte.
        user_agent: how we call ourselves to the API.
    """

    def __init__(
        self,
        base_url: str,
        tokens: Tokens,
        timeout_s: tuple[float, float] = (10.0, 30.0),
        user_agent: str = "decode-agent",
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._tokens = tokens
        self._timeout_s = timeout_s
        self._kept = _session_of(user_agent)
        # A connection kept alive that the server closes at this moment would lose the job just claimed, and
        # one that died in the machine's sleep would keep a sign of life or a verdict for a whole timeout.
        self._once = _session_of(user_agent)
        self._once.headers["Connection"] = "close"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        self._kept.close()
        self._once.close()

    def access_info(self) -> UserPool:
        """GET /access_info: where to log in; needs no token."""
        answer = self._send("GET", "/access_info", None)
        if error := refusal_of(answer, "GET /access_info", _NO_NEWS):
            raise error
        try:
            return _AccessInfo.model_validate(answer.payload).cognito
        except ValidationError:
            text = "GET /access_info: the answer names no user pool: is API_URL the worker-facing API?"
            raise ApiTrouble(text, status=answer.status) from None

    def claim(self, offer: Offer, limit: int) -> dict[str, Any]:
        """GET /jobs: a dequeue, so it is sent once; queue id → raw job spec."""
        payload = self._ask("GET", f"/jobs?{claim_query(offer, limit)}")
        if not isinstance(payload, dict):
            raise ApiTrouble("GET /jobs: the answer is not a set of jobs by id", status=requests.codes.ok)
        return payload

    def say(self, job_id: int, word: Word, details: str = "") -> None:
        """PUT the job's status; `details` are cleaned and cut to what the API takes."""
        query = {"status": word.value}
        if details:
            query["runtime_details"] = fit_details(details)
        answer = self._answer("PUT", f"/jobs/{job_id}/status?{urlencode(query)}", _gone(job_id))
        if answer.status != requests.codes.no_content:  # a network's login page says 200 to everything
            text = f"PUT /jobs/{job_id}/status: {answer.status} is not how the API accepts it"
            raise ApiTrouble(text, status=answer.status)

    def status(self, job_id: int) -> Word:
        """GET the job's status."""
        payload = self._ask("GET", f"/jobs/{job_id}/status", _gone(job_id))
        try:
            return Word(payload)
        except ValueError:
            text = f"GET /jobs/{job_id}/status: no status that we know: {one_line(repr(payload), 80)}"
            raise ApiTrouble(text, status=requests.codes.ok) from None

    def download_request(self, file_id: str) -> FileRequest:
        """Where and how to get a file, good for minutes; no such file or bucket is the job's fault."""
        try:
            path = f"/files/{quote_file_id(file_id)}url"
        except UnicodeEncodeError:
            raise JobFailed(f"input missing: the file id {one_line(repr(file_id))} is not text") from None
        return self._file_request(self._ask("GET", path, _no_file(file_id)))

    def upload_request(self, job_id: int, kind: UploadKind, base_path: str) -> FileRequest:
        """Where and how to put a file of that folder, good for minutes. Not ours or gone is a 500 here."""
        query = urlencode({"type": kind.value, "base_path": base_path})
        return self._file_request(self._ask("POST", f"/jobs/{job_id}/files/url?{query}", _gone(job_id)))

    def _file_request(self, payload: Any) -> FileRequest:
        try:
            request = FileRequest.model_validate(payload)
        except ValidationError as error:
            field = ".".join(map(str, error.errors()[0]["loc"])) or "it"
            text = f"the API describes the file's request wrongly: {one_line(field)} is malformed"
            raise ApiTrouble(text, status=requests.codes.ok) from None
        return request.model_copy(update={"url": quote_returned_url(request.url, self._base_url)})

    def _ask(self, method: str, path: str, news: News = _NO_NEWS) -> Any:
        """The JSON of a good answer."""
        answer = self._answer(method, path, news)
        if answer.payload is None:
            what = one_line(f"{method} {path.partition('?')[0]}")
            text = f"{what}: the answer is not JSON: is API_URL the worker-facing API?"
            raise ApiTrouble(text, status=answer.status)
        return answer.payload

    def _answer(self, method: str, path: str, news: News) -> Answer:
        """Send, and once more with a new token after a 401, which did nothing, so claimed nothing."""
        token = self._tokens.token()
        answer = self._send(method, path, token)
        if answer.status == requests.codes.unauthorized:
            self._tokens.reject(token)
            older, token = token, self._tokens.token()
            if token != older:
                answer = self._send(method, path, token)
        error = refusal_of(answer, f"{method} {path.partition('?')[0]}", news)
        if isinstance(error, AccountTrouble):
            self._tokens.reject(token)  # only a new token tells that the account was confirmed meanwhile
        if error is not None:
            raise error
        return answer

    def _send(self, method: str, path: str, token: str | None) -> Answer:
        """One request and the whole of its answer; the one place where foreign exceptions are translated."""
        path_only = path.partition("?")[0]
        session = self._once if path_only == "/jobs" or path_only.endswith("/status") else self._kept
        try:
            response = session.request(
                method,
                self._base_url + path,
                auth=_Bearer(token),
                timeout=self._timeout_s,
                allow_redirects=False,
                stream=True,
            )
            with closing(response):
                return _answer_of(response)
        except FOREIGN as error:
            what = one_line(f"{method} {path_only}")
            raise ApiTrouble(f"{what}: {_cause_of(error, self._base_url)}") from None


def _session_of(user_agent: str) -> requests.Session:
    session = requests.Session()
    headers = {"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "identity"}
    session.headers.update(headers)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=16))
    return session


def _gone(job_id: int) -> News:
    text = f"job {job_id} is not ours any more: deleted by its user, or given to another worker"
    return {requests.codes.not_found: lambda _: JobGone(text)}


def _no_file(file_id: str) -> News:
    shown = one_line(repr(file_id))

    def refused(detail: str) -> AgentError:
        if "group" in detail.lower():
            return AccountTrouble(f"the account may not read files (403 {detail})")
        return JobFailed(f"input missing: the API refuses the file {shown}: {detail or 'forbidden'}")

    return {
        requests.codes.not_found: lambda _: JobFailed(f"input missing: the API has no file {shown}"),
        requests.codes.forbidden: refused,
    }


def _answer_of(response: requests.Response) -> Answer:
    return Answer(
        response.status_code,
        json_of(_body_of(response)),
        retry_after_of(response.headers, datetime.now(UTC)),
        response.headers.get("Location", "").partition("?")[0],
    )


def _body_of(response: requests.Response) -> bytes:
    """The body as it was sent; a huge one or one that drips for ever is refused."""
    body = bytearray()
    deadline = time.monotonic() + ANSWER_MAX_S
    read = getattr(response.raw, "read1", response.raw.read)  # urllib3 1.26 has no read1
    while chunk := read(64 * 1024):
        body += chunk
        if len(body) > ANSWER_MAX_BYTES:
            raise _Refused(f"the answer is over {ANSWER_MAX_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise _Refused(f"the answer took over {ANSWER_MAX_S:g} s")
    return bytes(body)


def _cause_of(error: Exception, base_url: str) -> str:
    """What happened, for a person."""
    match error:
        case requests.ConnectTimeout():
            return f"{base_url} cannot be reached (timed out)"
        case requests.Timeout() | ReadTimeoutError():
            return f"{base_url} did not answer in time"
        case requests.exceptions.SSLError():
            return f"no safe connection to {base_url} (TLS): {_root_text(error)}"
        case requests.exceptions.ProxyError():
            return f"the proxy to {base_url} fails: check HTTPS_PROXY, HTTP_PROXY, NO_PROXY"
    return f"no answer from {base_url}: {_root_text(error)}"


def _root_text(error: BaseException) -> str:
    """What the system says; the libraries' own texts hold URLs and headers, so only their names count."""
    root = _root_of(error)
    is_systems = isinstance(root, OSError) and not isinstance(root, requests.RequestException)
    return one_line(str(root), 160) if is_systems else type(root).__name__


def _root_of(error: BaseException) -> BaseException:
    cause = error.__cause__ or error.__context__ or getattr(error, "reason", None)
    for inner in (*error.args, cause):
        if isinstance(inner, BaseException) and inner is not error:
            return _root_of(inner)
    return error
