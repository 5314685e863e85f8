"""What a storage's answer means."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_MAX_COMPLAINT_CHARS = 200
_SECRET_CHARS = 8
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.ASCII)
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Content:
    """What follows the head of a good answer.

    `start`: the position of its first byte in the file. `length_bytes`: None if it was not announced.
    `validator`: the file's strong ETag, empty without one.
    """

    start: int
    length_bytes: int | None
    validator: str


def read_content(status: int, headers: Mapping[str, str], *, asked_from: int) -> Content | None:
    """What a 200 or 206 carries; None if it contradicts itself or what was asked.

    `headers` are found by lower-case names; `asked_from` is where the `Range` began, 0 for none.
    """
    length = _read_length(headers)
    chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    if length is None and not chunked:
        return None  # its end could not be told from a broken connection
    if chunked:
        length = None
    if status == 200:  # noqa: PLR2004 - HTTP's
        return Content(0, length, _strong(headers.get("etag", "")))
    said = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if said is None or not asked_from:
        return None
    first, last, total = (int(number) for number in said.groups())
    fits = first == asked_from and last == total - 1 and length in (None, total - first)
    return Content(first, total - first, _strong(headers.get("etag", ""))) if fits else None


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether somebody on the way spoke in the storage's place, or changed what it said.

    A storage names the ETag of a file, a network's login page has none; who compresses on the way takes the
    strong one away (nginx, `ngx_http_gzip_module`). `headers` are found by lower-case names.
    """
    if _strong(headers.get("etag", "")):
        return False
    is_page = headers.get("content-type", "").lower().startswith("text/html") and "etag" not in headers
    return is_page or headers.get("content-encoding", "identity").strip().lower() != "identity"


def is_missing(status: int, body: bytes) -> bool:
    """Whether the storage itself says that there is no such file; a proxy's page with 404 says nothing."""
    return status == 404 and bool(re.search(rb"<Code>|\"detail\"\s*:", body))  # noqa: PLR2004 - HTTP's


def is_stored(status: int, body: bytes) -> bool:
    """Whether this answer to an upload says that the file arrived.

    201 is the API's and S3's, 204 S3's, an empty 200 what S3 can be told to answer
    (https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html). A 200 with a page is another's.
    """
    return status in {201, 204} or (status == 200 and not body)  # noqa: PLR2004 - HTTP's


def _read_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "").strip()
    return int(text) if _LENGTH.fullmatch(text) else None


def _strong(etag: str) -> str:
    """The ETag if it vouches for every byte (RFC 9110, 8.8.1); a weak one does not."""
    etag = etag.strip()
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else ""


def complaint(body: bytes, secrets: Iterable[str]) -> str:
    """The human part of an error's body as one short line; nothing of it that only we should know."""
    text = body.decode("utf-8", "replace")
    found = [re.search(rf"<{tag}>([^<]*)", text) for tag in ("Code", "Message")]
    if any(found):  # S3's XML: other elements of it repeat what was signed
        text = ": ".join(match[1] for match in found if match)
    elif detail := re.search(r'"detail"\s*:\s*"((?:[^"\\]|\\.)*)', text):
        text = detail[1]
    text = re.sub(r"<[^>]*>?", " ", text)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_CHARS:
            text = text.replace(secret, "…")
    text = re.sub(r"\?[^\s\"'<>]*=[^\s\"'<>]*", "?…", text)
    text = re.sub(r"(?i)\bbearer\s+\S+|\beyJ[\w.-]+", "…", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _MAX_COMPLAINT_CHARS else text[: _MAX_COMPLAINT_CHARS - 1] + "…"
