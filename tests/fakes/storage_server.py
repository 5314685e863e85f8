"""A storage on the loopback that does what its script says, down to single bytes on the wire."""

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Exchange:
    """One request on a connection, and the means to answer it."""

    method: str
    target: str
    headers: dict[str, str]
    sock: socket.socket
    stopping: threading.Event
    received: bytes = b""
    body: bytes = b""
    ends: bool = False

    def read_body(self) -> bytes:
        """All of the body, as long as Content-Length says."""
        length = int(self.headers.get("content-length", "0"))
        while len(self.body) < length:
            self.body += self._more(length - len(self.body))
        return self.body

    def read_some_body(self, size_bytes: int) -> None:
        """Only the beginning of the body."""
        while len(self.body) < size_bytes:
            self.body += self._more(size_bytes - len(self.body))

    def _more(self, limit: int) -> bytes:
        if self.received:
            data, self.received = self.received[:limit], self.received[limit:]
            return data
        data = self.sock.recv(min(limit, 1 << 20))
        if not data:
            raise ConnectionAbortedError("the client hung up")
        return data

    def send(self, data: bytes) -> None:
        """These bytes, as they are."""
        self.sock.sendall(data)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; `content_length="7"` and so on overrule, an empty one is left out."""
        fields = {"content_length": str(len(body))} | headers
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value)
        self.send(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body)

    def hang_up(self) -> None:
        """No further request on this connection."""
        self.ends = True

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.ends = True

    def sleep(self, seconds: float = 3600) -> None:
        """Do nothing, until the server is closed."""
        if self.stopping.wait(seconds):
            raise ConnectionAbortedError("the server is closing")


Script = Callable[[Exchange], None]


@dataclass(repr=False)
class StorageServer:
    """Runs in threads while the `with` block lasts; `exchanges` are all requests it got."""

    script: Script
    tls: ssl.SSLContext | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def url(self, target: str = "/file") -> str:
        """A URL of this server."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{target}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                self._sockets.append(sock)
                sock.do_handshake()
            received = b""
            while (exchange := self._next(sock, received)) is not None:
                self.exchanges.append(exchange)
                self.script(exchange)
                if exchange.ends:
                    return
                exchange.read_body()
                received = exchange.received
        except OSError:
            pass  # the client hung up, or we do
        finally:
            sock.close()

    def _next(self, sock: socket.socket, received: bytes) -> Exchange | None:
        while b"\r\n\r\n" not in received:
            data = sock.recv(1 << 16)
            if not data:
                return None
            received += data
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = dict(re.split(r":\s*", line.strip(), maxsplit=1) for line in lines)
        return Exchange(
            method, target, {k.lower(): v for k, v in headers.items()}, sock, self._stopping, rest
        )


def serve(content: bytes, etag: str = '"v1"') -> Script:
    """A file as S3 and starlette serve it, with ranges."""

    def script(exchange: Exchange) -> None:
        wanted = re.fullmatch(r"bytes=([0-9]+)-", exchange.headers.get("range", ""))
        fresh = exchange.headers.get("if-range", etag) == etag
        start = int(wanted[1]) if wanted and fresh else 0
        if start and start >= len(content):
            exchange.answer(416, content_range=f"bytes */{len(content)}")
        elif start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            exchange.answer(206, content[start:], content_range=span, etag=etag)
        else:
            exchange.answer(200, content, etag=etag)

    return script


def accept(exchange: Exchange) -> None:
    """Take an upload as S3 does."""
    exchange.read_body()
    exchange.answer(204, content_length="")
