"""The HTTP of the control socket: what may be asked and by whom, what answers mean; see docs/control.md."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import TypeAdapter, ValidationError

from agent.core.errors import AgentError, ConfigError, HostTrouble, ServiceTrouble, Stopped
from agent.core.status import AgentStatus, Mode, PastJob, Released, health_of
from agent.core.wire import one_line

GROUP = "decode-agent"
SOCKET_PATH = "/run/decode-agent/control.sock"
HISTORY_DEFAULT, HISTORY_MAX = 50, 10_000
RELEASE_REASON = "released by this machine's owner"
REASON_MAX_CHARS, RELEASE_MAX = 200, 100
_ID_MAX_DIGITS = 18  # what the journal's integers hold
_BROWSER_MARKS = ("origin", "referer", "sec-fetch-site", "sec-fetch-mode")
_JOIN = f"run it with sudo, or join the group {GROUP} and log in anew: sudo usermod -aG {GROUP} $USER"

T = TypeVar("T")


class Refused(AgentError):
    """The request is not answered as it is. `status`: the HTTP status that says so."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class StatusAsked:
    """GET /v1/status."""


@dataclass(frozen=True, slots=True)
class HistoryAsked:
    """GET /v1/jobs?limit=N."""

    limit: int


@dataclass(frozen=True, slots=True)
class LogAsked:
    """GET /v1/jobs/ID/log?follow=1."""

    job_id: int
    follow: bool


@dataclass(frozen=True, slots=True)
class SteerAsked:
    """POST /v1/mode {"mode": "paused"}."""

    mode: Mode


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """POST /v1/reload."""


@dataclass(frozen=True, slots=True)
class ReleaseAsked:
    """POST /v1/release {"jobs": [7], "reason": "a demo"}; no job named: all of them."""

    job_ids: tuple[int, ...]
    reason: str


Ask = StatusAsked | HistoryAsked | LogAsked | SteerAsked | ReloadAsked | ReleaseAsked


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel says; `groups`: all that the process is in."""

    pid: int
    uid: int
    groups: frozenset[int]


def may_ask(peer: Peer, own_uid: int, groups: Collection[int]) -> bool:
    """Root, the agent's own user and the members of these groups may do everything, others nothing."""
    return peer.uid in {0, own_uid} or not peer.groups.isdisjoint(groups)


def check_origin(headers: Mapping[str, str]) -> None:
    """Refuse what a browser sent through somebody's forwarded port: no page may steer the agent."""
    given = {name.lower(): value for name, value in headers.items()}
    if marks := [mark for mark in _BROWSER_MARKS if mark in given]:
        raise Refused(HTTPStatus.FORBIDDEN, f"browsers are not answered (the request has {marks[0].title()})")
    host = given.get("host", "").rpartition(":")[0] or given.get("host", "")
    if host.lower() != "localhost":
        raise Refused(HTTPStatus.FORBIDDEN, "the host must be localhost: http://localhost/v1/status")


def ask_of(method: str, target: str, body: bytes) -> Ask:
    """What the request asks for; `Refused` says what is wrong with it."""
    try:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=10))
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, "the address is not one") from None
    match method, parts.path.strip("/").split("/"):
        case "GET", ["v1", "status"]:
            _check_names(query, ())
            return StatusAsked()
        case "GET", ["v1", "jobs"]:
            _check_names(query, ("limit",))
            return HistoryAsked(_number(query.get("limit", str(HISTORY_DEFAULT)), "limit", HISTORY_MAX))
        case "GET", ["v1", "jobs", job_id, "log"]:
            _check_names(query, ("follow",))
            return LogAsked(_number(job_id, "job id"), _flag(query.get("follow", "0"), "follow"))
        case "POST", ["v1", "mode"]:
            _check_names(query, ())
            return SteerAsked(_mode_in(body))
        case "POST", ["v1", "reload"]:
            _check_names(query, ())
            return ReloadAsked()
        case "POST", ["v1", "release"]:
            _check_names(query, ())
            return _release_in(body)
    where = one_line(f"{method} {parts.path}", 100)
    known = "GET /v1/status, /v1/jobs, /v1/jobs/ID/log, POST /v1/mode, /v1/reload, /v1/release"
    raise Refused(HTTPStatus.NOT_FOUND, f"there is no {where}; there are {known}")


def _check_names(query: Mapping[str, str], known: Collection[str]) -> None:
    for name in query:
        if name not in known:
            raise Refused(HTTPStatus.BAD_REQUEST, f"unknown parameter {one_line(name, 50)}")


def _number(text: str, what: str, limit: int | None = None) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= _ID_MAX_DIGITS
    if not is_number or (limit is not None and int(text) > limit):
        upto = "" if limit is None else f" up to {limit}"
        raise Refused(HTTPStatus.BAD_REQUEST, f"{what} must be a number{upto}, not {one_line(text, 50)}")
    return int(text)


def _flag(text: str, what: str) -> bool:
    if text not in {"0", "1"}:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{what} must be 0 or 1, not {one_line(text, 50)}")
    return text == "1"


def _mode_in(body: bytes) -> Mode:
    try:
        return Mode(json.loads(body)["mode"])
    except (ValueError, TypeError, LookupError, RecursionError):
        modes = " or ".join(f'{{"mode": "{mode}"}}' for mode in Mode)
        raise Refused(HTTPStatus.BAD_REQUEST, f"the body must be {modes}") from None


def _release_in(body: bytes) -> ReleaseAsked:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        text = 'the body must be {"jobs": [ID, …], "reason": "a sentence"}, both may be left out'
        raise Refused(HTTPStatus.BAD_REQUEST, text)
    if unknown := said.keys() - {"jobs", "reason"}:
        raise Refused(HTTPStatus.BAD_REQUEST, f"unknown field {one_line(min(unknown), 50)}")
    job_ids, reason = said.get("jobs", []), said.get("reason", RELEASE_REASON)
    if not isinstance(job_ids, list) or len(job_ids) > RELEASE_MAX or not all(map(_is_job_id, job_ids)):
        raise Refused(HTTPStatus.BAD_REQUEST, f"jobs must be an array of up to {RELEASE_MAX} job ids")
    if not isinstance(reason, str) or not is_reason(reason):
        text = f"reason must be one line of 1 to {REASON_MAX_CHARS} characters"
        raise Refused(HTTPStatus.BAD_REQUEST, text)
    return ReleaseAsked(tuple(dict.fromkeys(job_ids)), reason.strip())


def _is_job_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**_ID_MAX_DIGITS


def is_reason(text: str) -> bool:
    """Whether the API and the job's user can be told this as a reason."""
    return 0 < len(text.strip()) <= REASON_MAX_CHARS and text.isprintable()


def status_body(status: AgentStatus) -> dict[str, Any]:
    """The answer to StatusAsked: the status and what it comes to."""
    return {"health": health_of(status), **asdict(status)}


def json_of(answer: Any) -> bytes:
    """The answer as JSON for people and programs; half surrogate pairs, as paths have them, become `?`."""
    text = json.dumps(answer, default=asdict, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"


def failure_of(error: Exception) -> tuple[HTTPStatus, str] | None:
    """The status and text for what went wrong while it was answered; None: that should not have been."""
    match error:
        case Refused():
            return error.status, str(error)
        case LookupError():
            return HTTPStatus.NOT_FOUND, str(error.args[0] if error.args else "there is no such thing")
        case ConfigError():
            return HTTPStatus.UNPROCESSABLE_ENTITY, str(error)
        case Stopped():
            return HTTPStatus.SERVICE_UNAVAILABLE, "the agent is stopping"
        case HostTrouble():
            return HTTPStatus.SERVICE_UNAVAILABLE, str(error)
    return None


# The other end


def jobs_target(limit: int) -> str:
    """What to GET for the history."""
    return f"/v1/jobs?{urlencode({'limit': min(max(limit, 0), HISTORY_MAX)})}"


def log_target(job_id: int, *, follow: bool) -> str:
    """What to GET for a log."""
    return f"/v1/jobs/{job_id}/log?follow={follow:d}"


def status_in(body: bytes) -> AgentStatus:
    """The status that an agent answered; `ServiceTrouble` if it is none."""
    return _read(TypeAdapter(AgentStatus), body)


def history_in(body: bytes) -> list[PastJob]:
    """The jobs that an agent answered; `ServiceTrouble` if they are none."""
    return _read(TypeAdapter(list[PastJob]), body)


def changes_in(body: bytes) -> tuple[str, ...]:
    """What an agent says of a reload; `ServiceTrouble` if it says something else."""
    return tuple(_read(TypeAdapter(dict[str, list[str]]), body).get("changes", ()))


def released_in(body: bytes) -> Released:
    """What an agent says of a release; `ServiceTrouble` if it says something else."""
    return _read(TypeAdapter(Released), body)


def _read(adapter: TypeAdapter[T], body: bytes) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError:
        fix = "it runs another version: sudo systemctl restart decode-agent"
        raise ServiceTrouble(f"the service's answer is not understood: {fix}") from None


def error_in(status: int, body: bytes) -> AgentError:
    """The error that a refusing answer stands for."""
    try:
        said = str(json.loads(body)["error"])
    except (ValueError, TypeError, LookupError, RecursionError):
        said = f"the service answers {status} {one_line(body.decode('utf-8', 'replace'), 100)}".rstrip()
    match status:
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            return ConfigError(said)
        case HTTPStatus.FORBIDDEN:
            return not_allowed(said)
    return ServiceTrouble(said)


def not_allowed(why: str) -> ServiceTrouble:
    """What a person is told who may not talk to the service."""
    return ServiceTrouble(f"{why}: {_JOIN}")
