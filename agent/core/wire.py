"""The worker-facing API's wire: how a request is spelled and what an answer means; see docs/protocol.md."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

from agent.core.errors import AccountTrouble, AgentError, ApiTrouble, NotConfirmed
from agent.core.models import Offer

DETAILS_MAX_CHARS = 1500
DETAILS_MAX_QUOTED_BYTES = 7000  # proxies commonly refuse a request line over 8 KiB
RETRY_AFTER_MAX_S = 3600.0
_CUT = "\n[…]\n"
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_DOT_SEGMENT = re.compile(r"(?<![^/])(\.{1,2})/")

_NOT_CONFIRMED = (
    "the account is still to be confirmed by an administrator: ask those who run the API to make it a worker"
)
_REFUSED = (
    "the API refuses the token: it has expired or belongs to another deployment; check ACCESS_TOKEN"
    " (or USERNAME and PASSWORD), API_URL and this machine's clock"
)

News = Mapping[int, Callable[[str], AgentError]]
"""What a status means for one request alone, from the API's detail text."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that arrived as a whole; `payload` is None where it is not JSON."""

    status: int
    payload: Any
    retry_after_s: float | None = None
    location: str = ""

    @property
    def detail(self) -> str:
        """What the API says went wrong, on one short line."""
        said = self.payload.get("detail", "") if isinstance(self.payload, dict) else ""
        if isinstance(said, list):
            said = "; ".join(map(_validation_line, said))
        return one_line(str(said))

    @property
    def is_apis_own(self) -> bool:
        """Whether the API itself refuses: gateways and proxies do not speak of a `detail`."""
        return isinstance(self.payload, dict) and "detail" in self.payload


def refusal_of(answer: Answer, what: str, news: News) -> AgentError | None:
    """The error that the answer to `what` stands for; None: it is a good one.

    `news` counts only if the API itself speaks: a proxy's page with status 404 must not kill a job.
    """
    status, detail = answer.status, answer.detail
    what = one_line(what)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    if status in news and answer.is_apis_own:
        return news[status](detail)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        text = f"{what}: redirected to {one_line(answer.location)}: API_URL must be the final address"
        return ApiTrouble(text, status=status)
    if status == HTTPStatus.UNAUTHORIZED:
        if "claims" in detail.lower():
            return NotConfirmed(f"{_NOT_CONFIRMED} (401 {detail})", retry_after_s=answer.retry_after_s)
        return AccountTrouble(f"{_REFUSED} (401 {detail})", retry_after_s=answer.retry_after_s)
    if status == HTTPStatus.FORBIDDEN and answer.is_apis_own:
        return NotConfirmed(f"{_NOT_CONFIRMED} (403 {detail})", retry_after_s=answer.retry_after_s)
    hint = ": is API_URL right?" if status == HTTPStatus.NOT_FOUND else ""
    text = f"{what}: the API answers {status} {detail}".rstrip() + hint
    return ApiTrouble(text, status=status, retry_after_s=answer.retry_after_s)


def _validation_line(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    where = item.get("loc", ())
    field = ".".join(map(str, where)) if isinstance(where, list) else str(where)
    return f"{field}: {item.get('msg', '')}"


def json_of(body: bytes) -> Any:
    """The JSON value, None if it is none (or null)."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def retry_after_of(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that Retry-After (seconds or a date) asks for, an hour at most.

    A date counts from the answer's own Date: this machine's clock, `now`, may be hours off.
    """
    header = headers.get("Retry-After", "")
    if header.isascii() and header.isdecimal():
        return min(float(header[:9]), RETRY_AFTER_MAX_S)
    until = _date_of(header)
    if until is None:
        return None
    wait_s = (until - (_date_of(headers.get("Date", "")) or now)).total_seconds()
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)


def _date_of(header: str) -> datetime | None:
    """An HTTP date; None for what is none, or says no zone."""
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else None


def claim_query(offer: Offer, limit: int) -> str:
    """The query of GET /jobs."""
    query: list[tuple[str, str | int]] = [
        ("memory", offer.memory_mib),
        ("cpu_cores", offer.cpu_cores),
        ("gpu_mem", offer.gpu_mem_mib),  # not `gpu_memory`, which the API ignores without a word
    ]
    if offer.gpu_model is not None:
        query.append(("gpu_model", offer.gpu_model))
    if offer.gpu_archi is not None:
        query.append(("gpu_archi", offer.gpu_archi))
    query += [("groups", group) for group in offer.groups]
    if offer.older_than_s:
        query.append(("older_than", offer.older_than_s))
    return urlencode([*query, ("limit", limit)])


def quote_file_id(file_id: str) -> str:
    """The file id for a URL's path, with the slash that follows it there.

    `/` and `:` stay. The slash after a `.` or `..` becomes `%2F`: else every client and proxy takes the
    dots for a direction. Raises UnicodeEncodeError for lone surrogates.
    """
    return _DOT_SEGMENT.sub(r"\1%2F", quote(file_id, safe="/:") + "/")


def fit_details(text: str) -> str:
    """The text as the API takes it: no control characters, at most 1,500 others, its head line and tail."""
    clean = _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    clean = "".join(map(_clean_char, clean))
    limit = DETAILS_MAX_CHARS
    while len(quote_plus(_cut(clean, limit))) > DETAILS_MAX_QUOTED_BYTES:
        limit = limit * 9 // 10
    return _cut(clean, limit)


def one_line(text: str, limit: int = 300) -> str:
    """The text on one line without control characters, cut."""
    line = " ".join("".join(map(_clean_char, text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _clean_char(char: str) -> str:
    if char in "\n\t":
        return char
    match unicodedata.category(char):
        case "Cc":
            return ""
        case "Cs":
            return "\N{REPLACEMENT CHARACTER}"
    return char


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = text.partition("\n")[0][: limit // 3]
    return head + _CUT + text[len(head) + len(_CUT) - limit :]
