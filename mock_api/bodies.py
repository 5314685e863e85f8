"""Large bodies, streamed with bounded memory: a file to the client, a part of a form to a file."""

import os
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from mock_api.connection import connection_of
from mock_api.storage import Storage, StoredFile

CHUNK_BYTES = 1024**2


class UnsatisfiableRange(Exception):
    """The range begins behind the file's end: 416."""


def range_of(header: str | None, size_bytes: int) -> range | None:
    """The bytes that a Range header asks for; None for all: no header, no bytes, or several ranges."""
    unit, _, spec = (header or "").partition("=")
    first, dash, last = spec.partition("-")
    if unit.strip().lower() != "bytes" or not dash or "," in spec:
        return None
    try:
        start = int(first) if first.strip() else max(size_bytes - int(last), 0)
        stop = int(last) + 1 if first.strip() and last.strip() else size_bytes
    except ValueError:
        return None
    if start >= size_bytes or stop <= start:
        raise UnsatisfiableRange
    return range(start, min(stop, size_bytes))


def header_of(scope: Scope, name: str) -> str | None:
    """A request header by its lower-case name."""
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), None)


class FileBody:
    """An ASGI response that sends a file, or the range of it that was asked for."""

    def __init__(self, stored: StoredFile) -> None:
        self._stored = stored

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answers 200, 206 or 416."""
        stored, size_bytes = self._stored, self._stored.size_bytes
        modified = formatdate(stored.modified, usegmt=True)
        headers = {
            "content-type": stored.media_type,
            "accept-ranges": "bytes",
            "last-modified": modified,
            "etag": stored.etag,
        }
        if_range = header_of(scope, "if-range")
        asked = header_of(scope, "range") if if_range in {None, stored.etag, modified} else None
        try:
            part = range_of(asked, size_bytes)
        except UnsatisfiableRange:
            headers |= {"content-range": f"bytes */{size_bytes}", "content-length": "0"}
            await send(_start(416, headers))
            await send({"type": "http.response.body", "body": b""})
            return
        wanted = range(size_bytes) if part is None else part
        headers["content-length"] = str(len(wanted))
        if part is not None:
            headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{size_bytes}"
        await send(_start(200 if part is None else 206, headers))
        await _send_range(stored.path, wanted, scope, send)


def _start(status: int, headers: dict[str, str]) -> Message:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}


async def _send_range(path: Path, wanted: range, scope: Scope, send: Send) -> None:
    """One chunk in memory at a time; ends when the client has gone."""
    gone = connection_of(scope).gone
    with path.open("rb", buffering=0) as file:
        for at in range(wanted.start, wanted.stop, CHUNK_BYTES):
            chunk = os.pread(file.fileno(), min(CHUNK_BYTES, wanted.stop - at), at)
            if gone.is_set():
                return
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _discard(path: Path) -> None:
    path.unlink()


async def write_chunks(
    chunks: AsyncIterator[bytes], storage: Storage, max_bytes: int | None = None
) -> Path | None:
    """Writes an upload to a temporary file of the storage, for `Storage.store`.

    Returns:
        The file's path; None if there was more than ``max_bytes``. Nothing is left of an upload that breaks
        off.
    """
    with storage.open_temporary() as file:
        path = Path(file.name)
        written = 0
        try:
            async for chunk in chunks:
                written += file.write(chunk)
                if max_bytes is not None and written > max_bytes:
                    _discard(path)
                    return None
        except BaseException:
            _discard(path)
            raise
    return path
