"""Answers of the Docker engine that come bit by bit, on connections that a stop can hang up.

No call of docker-py can be interrupted: its connections come from a pool that hides them.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

from docker.errors import APIError
from docker.utils import parse_host

from agent.core.engine_api import message_in
from agent.core.stopping import Stop

_MAX_LINE_BYTES = 1024 * 1024


class Stream:
    """One answer; `idle_s` of silence while it is read is a `TimeoutError`."""

    def __init__(self, answer: HTTPResponse, connection: socket.socket) -> None:
        self._answer = answer
        self._connection = connection

    def read(self, size_bytes: int) -> bytes:
        """So many bytes, less only at the end. Raises `IncompleteRead` where the connection broke."""
        return self._answer.read(size_bytes)

    def lines(self) -> Iterator[bytes]:
        """Line by line. Raises `IncompleteRead` where the connection broke.

        `HTTPResponse.readline` does not, in a chunked answer: there a broken one looks complete.
        """
        rest = b""
        while piece := self._answer.read1(_MAX_LINE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
            if len(rest) > _MAX_LINE_BYTES:
                raise ValueError("a line without end")
        if rest:
            yield rest

    def be_patient(self) -> None:
        """From now on silence is no trouble, however long."""
        self._connection.settimeout(None)

    def fileno(self) -> int:
        """To sleep on: readable when something comes or the connection ends."""
        return self._connection.fileno()


@contextmanager
def open_stream(
    base_url: str, method: str, path: str, *, stop: Stop, idle_s: float, headers: Mapping[str, str] = {}
) -> Iterator[Stream]:
    """Send a request; `stop` hangs up even before the answer begins.

    Raises docker-py's `APIError` where the engine refuses, `OSError` and `HTTPException` where the
    connection fails, which a stop makes it do.
    """
    with closing(HTTPConnection("docker")) as connection:
        plug = _dial(connection, base_url, idle_s)
        with stop.attach(partial(_hang_up, plug)):
            connection.request(method, path, headers=headers)
            with connection.getresponse() as answer:
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise APIError(message_in(answer.read(_MAX_LINE_BYTES)))
                yield Stream(answer, plug)


def _dial(connection: HTTPConnection, base_url: str, timeout_s: float) -> socket.socket:
    """Connect to the engine; closing the connection closes the socket, also one that could not connect."""
    where = urlsplit(str(parse_host(base_url)))
    if where.scheme == "http+unix":
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(timeout_s)
        connection.sock.connect(where.path)
    else:
        connection.sock = socket.create_connection((where.hostname, where.port), timeout_s)
    return connection.sock


def _hang_up(plug: socket.socket) -> None:
    """End whatever reads from it, in another thread; it may be closed by now."""
    with suppress(OSError):
        plug.shutdown(socket.SHUT_RDWR)
