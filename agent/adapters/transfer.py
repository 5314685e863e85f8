"""Files over HTTP: one request, streamed, checked, interruptible; fulfils `ports.Transfer`."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import Any, BinaryIO, Self
from urllib.parse import parse_qsl, urlsplit

from requests import RequestException, Response
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as UrllibTimeout

from agent.adapters.transfer_form import Form
from agent.adapters.transfer_sockets import Attempt, Patience, StorageSession
from agent.core.answers import Content, complaint, is_foreign, is_missing, is_stored, read_content
from agent.core.errors import JobFailed, StorageTrouble
from agent.core.models import FileRequest
from agent.core.paths import shown
from agent.core.stopping import Stop
from agent.core.wire import retry_after_of
from agent.ports import PartFile

# Of one POST to S3: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
MAX_FORM_BYTES = 5 << 30
_READ_BYTES = 1 << 20
_COMPLAINT_BYTES = 4096
_STORING_BYTES_S = 10 << 20  # how fast a server at least puts away what it got before it answers
_OK, _PARTIAL, _BAD_RANGE = 200, 206, 416

# All that requests, urllib3 and http.client raise; ValueError is what some of it is for a URL or header.
_LIBRARY_ERRORS = (RequestException, HTTPError, HTTPException, OSError, ValueError)

Advance = Callable[[int], None]


class HttpTransfer:
    """May be shared by threads; keeps connections open until `close`.

    `idle_timeout_s`: the longest silence of the other side. A transfer below `floor_bytes_s` over
    `window_s` is a stall as well. Proxies and CA bundles come from the environment, credentials never.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 10.0,
        idle_timeout_s: float = 60.0,
        floor_bytes_s: float = 1024.0,
        window_s: float = 60.0,
        pool_size: int = 16,
    ) -> None:
        self._patience = Patience(connect_timeout_s, idle_timeout_s, floor_bytes_s, window_s)
        self._session = StorageSession(pool_size)

    def close(self) -> None:
        """Close the connections that were kept open."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def download(self, request: FileRequest, part: PartFile, *, stop: Stop, advance: Advance) -> None:
        """Stream to the part, from where it ends if the content is still the same, and finish it.

        After a success `advance` has heard the file's size in all, after a failure nothing. Bytes that can
        be resumed stay in the part. Raises `StorageTrouble`, `Stopped`, `JobFailed` for a 404 of the
        storage's own, and what the part raises.
        """
        with _counted(advance) as count:
            with self._attempt(request, stop) as attempt:
                response, content = self._ask(attempt, request, part)
                with closing(response):
                    count(content.start)
                    _receive(response, content, part, attempt, count)
            part.finish()

    def upload(
        self,
        request: FileRequest,
        source: BinaryIO,
        *,
        name: str,
        size_bytes: int,
        stop: Stop,
        advance: Advance,
    ) -> None:
        """Stream the source as a multipart form with known length; what `advance` hears is as for a download.

        Raises `StorageTrouble`, `Stopped`, `DiskTrouble`, and `JobFailed` for a file that is too big for S3
        (before anything is sent) or changes meanwhile.
        """
        if request.data and size_bytes > MAX_FORM_BYTES:  # only S3 wants fields in the form
            size = f"{size_bytes:,} bytes ({size_bytes / (1 << 30):.1f} GiB)"
            raise JobFailed(f"output {shown(name)} has {size}: the storage takes at most 5 GiB in one file")
        with _counted(advance) as count, self._attempt(request, stop) as attempt:
            storing_s = self._patience.idle_s + size_bytes / _STORING_BYTES_S
            form = Form(
                request.data, name, source, size_bytes, count, lambda: attempt.expect_silence(storing_s)
            )
            headers = request.headers | {"Content-Type": form.content_type}
            with closing(self._send(attempt, request, headers, form, storing_s)) as response:
                body = _read_some(response)  # so that the connection can be used again
                if not is_stored(response.status_code, body):
                    raise _refusal(request, response, body)
                if not form.is_sent:
                    raise StorageTrouble(f"{_host_of(request)} thanked for a file before it was sent")

    @contextmanager
    def _attempt(self, request: FileRequest, stop: Stop) -> Iterator[Attempt]:
        """The one place where errors of the libraries become ours."""
        stop.check()
        attempt = Attempt(self._patience)
        try:
            with attempt, stop.attach(attempt.end):
                yield attempt
        except StorageTrouble:
            stop.check()
            raise
        except _LIBRARY_ERRORS as error:
            # Without the cause: its text may hold the URL with its signature.
            stop.check()
            raise StorageTrouble(f"{_host_of(request)}: {self._why(error, attempt)}") from None

    def _why(self, error: BaseException, attempt: Attempt) -> str:
        if attempt.stalled:
            floor, window = self._patience.floor_bytes_s, self._patience.window_s
            return f"stalled: less than {floor:.0f} bytes/s for {window:.0f} s"
        return _plain_words(error)

    def _ask(self, attempt: Attempt, request: FileRequest, part: PartFile) -> tuple[Response, Content]:
        """Ask for what the part lacks and make it ready for what comes."""
        response = self._send(attempt, request, _with_range(request.headers, part), request.data or None)
        if response.status_code == _BAD_RANGE and part.size_bytes:
            response.close()
            part.restart("")
            response = self._send(attempt, request, request.headers, request.data or None)
        try:
            return response, _content_of(request, response, part)
        except BaseException:
            response.close()
            raise

    def _send(
        self, attempt: Attempt, request: FileRequest, headers: dict[str, str], data: Any, idle_s: float = 0
    ) -> Response:
        response = self._session.request(
            request.method.upper(),
            request.url,
            headers=headers,
            data=data,
            stream=True,
            allow_redirects=False,
            timeout=(self._patience.connect_s, idle_s or self._patience.idle_s),
        )
        try:
            attempt.check()  # http.client takes a head that was cut off for a whole one
        except ConnectionAbortedError:
            response.close()
            raise
        return response


@contextmanager
def _counted(advance: Advance) -> Iterator[Advance]:
    """Pass on what is counted; take all of it back if the block fails."""
    counted = 0

    def count(size_bytes: int) -> None:
        nonlocal counted
        counted += size_bytes
        advance(size_bytes)

    try:
        yield count
    except BaseException:
        advance(-counted)
        raise


def _with_range(headers: dict[str, str], part: PartFile) -> dict[str, str]:
    if not (part.size_bytes and part.validator):
        return headers
    return headers | {"Range": f"bytes={part.size_bytes}-", "If-Range": part.validator}


def _content_of(request: FileRequest, response: Response, part: PartFile) -> Content:
    """What the answer carries; the part is ready for it. Raises `StorageTrouble`, `JobFailed` for a 404."""
    if response.status_code not in (_OK, _PARTIAL):
        body = _read_some(response)
        if is_missing(response.status_code, body):
            what = _what_it_says(request, response.status_code, body)
            raise JobFailed(f"not found at {_host_of(request)}: {what}")
        raise _refusal(request, response, body)
    headers = {name.lower(): value for name, value in response.headers.items()}
    if is_foreign(headers):
        text = "something on the way answers in its place, or changes what it says"
        raise StorageTrouble(f"{_host_of(request)}: {text} (a login page, a proxy)")
    content = read_content(response.status_code, headers, asked_from=part.size_bytes)
    # A 206 names the ETag that a 200 would (RFC 9110, 15.3.7): without it, whose bytes follow nobody knows.
    if content is None or (content.start and content.validator != part.validator):
        part.restart("")
        raise StorageTrouble(f"{_host_of(request)}: the answer contradicts itself, starting anew")
    if content.start == 0:
        part.restart(content.validator)
    return content


def _receive(response: Response, content: Content, part: PartFile, attempt: Attempt, count: Advance) -> None:
    """Write all that comes; it must be as much as was announced."""
    received = 0
    while data := response.raw.read1(_READ_BYTES, decode_content=False):
        received += len(data)
        attempt.moved(len(data))
        if content.length_bytes is not None and received > content.length_bytes:
            part.restart("")
            raise StorageTrouble(f"more came than the {content.length_bytes:,} bytes that were announced")
        part.write(data)
        count(len(data))
    attempt.check()  # http.client takes a mark of the end that was cut off for a whole one
    if content.length_bytes not in (None, received):
        raise StorageTrouble(f"cut off after {received:,} of {content.length_bytes:,} bytes")
    attempt.let_go()


def _refusal(request: FileRequest, response: Response, body: bytes) -> StorageTrouble:
    """The error of an answer that is no success."""
    what = _what_it_says(request, response.status_code, body)
    what += ", a redirect, which is not followed" if response.is_redirect else ""
    wait_s = retry_after_of(response.headers, datetime.now(UTC))
    return StorageTrouble(
        f"{_host_of(request)} answered {what}", status=response.status_code, retry_after_s=wait_s
    )


def _what_it_says(request: FileRequest, status: int, body: bytes) -> str:
    query = parse_qsl(urlsplit(request.url).query)
    secrets = {*request.headers.values(), *request.data.values(), *(value for _, value in query)}
    text = complaint(body, secrets)
    return f"{status} ({text})" if text else str(status)


def _read_some(response: Response) -> bytes:
    """The beginning of a body, all of it if it is short; what fails is as good as its end."""
    body = b""
    try:
        while len(body) < _COMPLAINT_BYTES and (
            data := response.raw.read1(_COMPLAINT_BYTES, decode_content=False)
        ):
            body += data
    except _LIBRARY_ERRORS:
        pass
    return body


def _host_of(request: FileRequest) -> str:
    """The storage's name, all of a URL that may be shown."""
    try:
        return urlsplit(request.url).hostname or "a URL without host"
    except ValueError:
        return "a malformed URL"


def _plain_words(error: BaseException) -> str:
    """What is at the bottom of a library's error; never its own text, which may hold a URL."""
    while (below := _below(error)) is not None:
        error = below
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {getattr(error, 'verify_message', '')}"
        case TimeoutError() | UrllibTimeout():
            return "no answer in time"
        case RemoteDisconnected():
            return "closed the connection without an answer"
        case IncompleteRead():
            return "cut off in the middle"
        case OSError() if error.strerror and not isinstance(error, RequestException):
            return f"the connection failed: {error.strerror}"
        case _:
            return f"the transfer failed: {type(error).__name__}"


def _below(error: BaseException) -> BaseException | None:
    for candidate in (getattr(error, "reason", None), *error.args[:2], error.__cause__):
        if isinstance(candidate, BaseException) and candidate is not error:
            return candidate
    return None
