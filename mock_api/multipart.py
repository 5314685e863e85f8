"""A reader for multipart forms that hands out each part as it arrives.

Starlette's own form parser calls back into Python for every piece and writes each through a thread; this one
searches the boundary with `bytes.find` in what came. Headers are parsed by ``python-multipart``, as on the
real server, so that file names arrive changed in the same way.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header
from starlette.types import Receive

_HEADERS_MAX_BYTES = 64 * 1024


class BadForm(Exception):
    """The body is no multipart form, or it ended in the middle of one."""


class ClientGone(Exception):
    """The client closed the connection in the middle of its request."""


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one part; ``filename`` None for a plain field."""

    name: str
    filename: str | None


def boundary_of(content_type: str) -> bytes:
    """The boundary a Content-Type header names; raises `BadForm` without one."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise BadForm(f"not a multipart form: {content_type}")
    return options[b"boundary"]


class FormReader:
    """Reads one form: `next_part`, then its `chunks` or its `text`, again and again."""

    def __init__(self, boundary: bytes, receive: Receive) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._receive = receive
        self._buffer = b"\r\n"
        self._at_end = False
        self._more_body = True

    async def next_part(self) -> Part | None:
        """The head of the next part, None behind the last; what was left of the one before is skipped."""
        async for _ in self.chunks():
            pass
        closing = await self._take(2)
        if closing == b"--":
            return None
        if closing != b"\r\n":
            raise BadForm("no line break behind a boundary")
        return _parse_head(await self._take_head())

    async def chunks(self) -> AsyncIterator[bytes]:
        """What is left of this part's content, in pieces as large as they arrived."""
        while not self._at_end:
            at = self._buffer.find(self._delimiter)
            if at >= 0:
                piece, self._buffer = self._buffer[:at], self._buffer[at + len(self._delimiter) :]
                self._at_end = True
            else:
                # The boundary may have arrived in part: keep what could be its beginning.
                keep = len(self._delimiter) - 1
                piece, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
                await self._fill()
            if piece:
                yield piece

    async def text(self, max_bytes: int = 1024**2) -> str:
        """The content of a plain field."""
        content = b""
        async for piece in self.chunks():
            content += piece
            if len(content) > max_bytes:
                raise BadForm("a field is too long")
        return content.decode("utf-8", "replace")

    async def drain(self) -> None:
        """Reads what the client still sends behind the form."""
        while await self.next_part() is not None:
            pass

    async def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._fill()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    async def _take_head(self) -> bytes:
        while (at := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _HEADERS_MAX_BYTES:
                raise BadForm("the headers of a part are too long")
            await self._fill()
        head, self._buffer = self._buffer[:at], self._buffer[at + 4 :]
        self._at_end = False
        return head

    async def _fill(self) -> None:
        if not self._more_body:
            raise BadForm("the form ended too early")
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self._more_body = message.get("more_body", False)
        self._buffer += message.get("body", b"")


def _parse_head(head: bytes) -> Part:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            _, options = parse_options_header(value.strip().decode("latin-1"))
            filename = options.get(b"filename")
            return Part(_text(options.get(b"name", b"")), None if filename is None else _text(filename))
    raise BadForm("a part without Content-Disposition")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
