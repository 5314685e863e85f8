"""One request to the control socket and its answer; whoever asks may be broken or hostile."""

import io
import logging
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from agent import __version__
from agent.core import control_api as api
from agent.core.stopping import Stop
from agent.core.wire import one_line
from agent.ports_host import Controls

log = logging.getLogger(__name__)

REQUEST_S = 10.0
ANSWER_S = 10.0
LOG_ANSWER_S = 600.0  # somebody reads it in a pager
_REQUEST_MAX_BYTES = 16 * 1024
_BODY_MAX_BYTES = 4 * 1024
_LINGER_S = 1.0

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    b'{"error": "too many are asking at once: try again"}\n'
)

Followed = Callable[[socket.socket], AbstractContextManager[Stop]]
"""Watches a connection whose log is being read: the stop is set when the other end hangs up."""


class _Bounded(io.RawIOBase):
    """What the other end sends, so much and so long only, in however small pieces it comes."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + seconds
        self._left_bytes = _REQUEST_MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the request took too long")
        if not self._left_bytes:
            raise api.Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too large")
        self._connection.settimeout(left_s)
        size = self._connection.recv_into(buffer, min(len(buffer), self._left_bytes))
        self._left_bytes -= size
        return size


class Exchange(BaseHTTPRequestHandler):
    """Reads one request and answers it; then the connection is to be closed.

    `controls`: None for somebody who may not ask.
    """

    protocol_version = "HTTP/1.1"
    server_version = f"decode-agent/{__version__}"
    sys_version = ""
    requestline = command = ""  # until there is one

    def __init__(self, connection: socket.socket, controls: Controls | None, followed: Followed) -> None:
        self._controls = controls
        self._followed = followed
        self._is_begun = False
        super().__init__(connection, "", None)  # type: ignore[arg-type]  # it has no use for a server

    def setup(self) -> None:
        """Called by the base class: how to read and write."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Bounded(self.connection, REQUEST_S))

    def handle(self) -> None:
        """One request; whatever goes wrong ends this connection and nothing else."""
        try:
            self.handle_one_request()
        except OSError as error:  # it went away, or takes nothing
            log.debug("A connection to the control socket broke: %s.", error)
        except Exception as error:  # noqa: BLE001  a request must never hurt the agent
            self._fail(error)

    def do_GET(self) -> None:
        """Called by the base class."""
        try:
            self._answer()
        except Exception as error:  # noqa: BLE001  a request must never hurt the agent
            self._fail(error)

    def do_POST(self) -> None:
        """Called by the base class."""
        self.do_GET()

    def _answer(self) -> None:
        controls = self._controls
        if controls is None:
            raise api.Refused(HTTPStatus.FORBIDDEN, "you may not talk to this agent")
        if self.request_version != self.protocol_version:
            raise api.Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is needed")
        api.check_origin(dict(self.headers.items()))
        match api.ask_of(self.command, self.path, self._body()):
            case api.StatusAsked():
                self._send(HTTPStatus.OK, api.status_body(controls.status()))
            case api.HistoryAsked(limit):
                self._send(HTTPStatus.OK, controls.history(limit))
            case api.LogAsked(job_id, follow):
                self._send_log(controls, job_id, follow=follow)
            case api.SteerAsked(mode):
                controls.steer(mode)
                self._send(HTTPStatus.OK, {"mode": mode})
            case api.ReloadAsked():
                self._send(HTTPStatus.OK, {"changes": controls.reload()})
            case api.ReleaseAsked(job_ids, reason):
                self._send(HTTPStatus.OK, controls.release(job_ids, reason))

    def _body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            raise api.Refused(HTTPStatus.LENGTH_REQUIRED, "the body needs a Content-Length")
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise api.Refused(HTTPStatus.BAD_REQUEST, "the Content-Length is not one")
        if len(length) > len(str(_BODY_MAX_BYTES)) or int(length) > _BODY_MAX_BYTES:
            raise api.Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
        try:
            body = self.rfile.read(int(length))
        except OSError:
            raise api.Refused(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive") from None
        if len(body) < int(length):
            raise api.Refused(HTTPStatus.BAD_REQUEST, "the body is shorter than its Content-Length")
        return body

    def _send_log(self, controls: Controls, job_id: int, *, follow: bool) -> None:
        with (
            self._followed(self.connection) as stop,
            closing(_closable(controls.read_log(job_id, follow=follow, stop=stop))) as log_pieces,
        ):
            pieces = filter(None, log_pieces)  # an empty chunk would be the end
            piece = next(pieces, b"")  # its first errors can still be told
            self._begin(HTTPStatus.OK, "text/plain; charset=utf-8", ("Transfer-Encoding", "chunked"))
            self.connection.settimeout(LOG_ANSWER_S)
            while piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                piece = next(pieces, b"")
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: HTTPStatus, answer: Any) -> None:
        body = api.json_of(answer)
        self._begin(status, "application/json", ("Content-Length", str(len(body))))
        self.wfile.write(body)

    def _begin(self, status: HTTPStatus, kind: str, size: tuple[str, str]) -> None:
        self._is_begun = True
        self.connection.settimeout(ANSWER_S)
        self.request_version = self.protocol_version  # headers also for one who did not get as far as these
        self.send_response(status)
        for header in (("Content-Type", kind), size, ("Connection", "close"), ("Cache-Control", "no-store")):
            self.send_header(*header)
        self.end_headers()

    def _fail(self, error: Exception) -> None:
        """Tell it if that is still possible; an answer that has begun just breaks off."""
        if self._is_begun:
            log.debug("An answer on the control socket broke off: %s.", error)
            return
        failure = api.failure_of(error)
        if failure is None:
            log.error("A request on the control socket failed unexpectedly.", exc_info=error)
            text = f"unexpected {type(error).__name__}: the agent's log tells more"
            failure = HTTPStatus.INTERNAL_SERVER_ERROR, text
        with suppress(OSError):
            self._send(failure[0], {"error": failure[1]})
            self._linger()

    def _linger(self) -> None:
        """Let it read the answer although it was still sending: closing at once could take that from it."""
        self.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER_S
        while (left_s := deadline - time.monotonic()) > 0:
            self.connection.settimeout(left_s)
            if not self.connection.recv(_REQUEST_MAX_BYTES):
                return

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Called by the base class for what it does not understand."""
        del explain
        text = one_line(message or HTTPStatus(code).phrase, 200)
        self._fail(api.Refused(HTTPStatus(code), text))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class calls it so
        """Called by the base class: its lines are for debugging."""
        log.debug("Control socket: %s.", one_line(format % args, 200))


def _closable(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """A generator of them, which ends theirs with its own end if theirs is one."""
    yield from pieces
