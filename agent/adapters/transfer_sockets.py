"""HTTP connections that another thread can end at any moment, and that have to make progress.

urllib3 has no way to interrupt a transfer: `HTTPResponse.shutdown` exists only once there is an answer, so
not while connecting, during the TLS handshake, while sending, or while waiting for the head.
"""

import logging
import re
import select
import socket
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from time import monotonic
from typing import Any, ClassVar, Self

from requests import Response, Session
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError

_QUERY = re.compile(r"\?\S*")
_ADDRESSES = 3  # a name may stand for some that do not answer


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait; less than `floor_bytes_s` over `window_s` is a stall."""

    connect_s: float
    idle_s: float
    floor_bytes_s: float
    window_s: float


class Attempt:
    """One transfer's hold on whatever it waits for; a context manager for the thread that transfers."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.stalled = False
        self._ended = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._connecting: Future[socket.socket] | None = None
        self._moved_bytes = 0
        self._quiet_until = 0.0
        self._over = threading.Event()
        self._guard = threading.Thread(target=self._watch, name="transfer-guard", daemon=True)

    def __enter__(self) -> Self:
        self._token = _CURRENT.set(self)
        self._guard.start()
        return self

    def __exit__(self, *exc: object) -> None:
        _CURRENT.reset(self._token)
        self.let_go()
        self._guard.join()

    def let_go(self) -> None:
        """All is transferred: from here on nothing is interrupted."""
        self._over.set()
        with self._lock:
            self._ended = True
            self._take(None)

    def end(self) -> None:
        """Break off, from any thread: whatever the transfer waits for fails at once."""
        with self._lock:
            self._ended = True
            if self._connecting is not None:
                self._connecting.cancel()
            self._shut()

    def check(self) -> None:
        """Raise `ConnectionAbortedError` if this was broken off."""
        if self._ended:
            raise ConnectionAbortedError("broken off")

    def moved(self, size_bytes: int) -> None:
        """So many bytes have come or gone."""
        self._moved_bytes += size_bytes

    def expect_silence(self, limit_s: float) -> None:
        """The other side has reason to say nothing for a while."""
        self._quiet_until = monotonic() + limit_s

    def hold(self, sock: socket.socket) -> None:
        """This is the connection from here on."""
        # A duplicate of our own: TLS takes the descriptor over, urllib3 closes it when it likes, and its
        # number may then be somebody else's.
        duplicate = socket.fromfd(sock.fileno(), sock.family, sock.type)
        with self._lock:
            self._take(duplicate)
            if self._ended:
                self._shut()

    def connect(self, connect: Callable[[], socket.socket]) -> socket.socket:
        """Connect in a thread of its own, which is left behind at an end.

        Resolving a name cannot be interrupted.
        """
        future: Future[socket.socket] = Future()
        with self._lock:
            if self._ended:
                future.cancel()
            self._connecting = future
        threading.Thread(target=_connect_for, args=(future, connect), name="connect", daemon=True).start()
        try:
            return future.result(self.patience.connect_s * _ADDRESSES)
        except CancelledError:
            raise ConnectionAbortedError("ended while connecting") from None
        except TimeoutError:
            if not future.cancel():
                return future.result()
            raise ConnectTimeoutError("no connection in time") from None
        finally:
            self._connecting = None

    def _take(self, sock: socket.socket | None) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = sock

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it may be closed at the other end
                self._socket.shutdown(socket.SHUT_RDWR)

    def _watch(self) -> None:
        """End the transfer if it makes too little progress, whatever it is waiting for."""
        before = 0
        while not self._over.wait(self.patience.window_s):
            now, moved = self._moved_bytes, self._moved_bytes - before
            if (
                moved < self.patience.floor_bytes_s * self.patience.window_s
                and monotonic() > self._quiet_until
            ):
                self.stalled = True
                self.end()
                return
            before = now


_CURRENT: ContextVar[Attempt] = ContextVar("attempt")


def _connect_for(future: "Future[socket.socket]", connect: Callable[[], socket.socket]) -> None:
    try:
        sock = connect()
    except Exception as error:  # noqa: BLE001 - carried over to the thread that waits
        if future.set_running_or_notify_cancel():
            future.set_exception(error)
        return
    if future.set_running_or_notify_cancel():
        future.set_result(sock)
    else:
        sock.close()


class _Connection(HTTPConnection):
    """A connection that belongs to the thread's current attempt while that uses it."""

    _refused = False  # with the rest of a body unsent: nothing else may follow

    @property
    def is_connected(self) -> bool:
        return not self._refused and super().is_connected

    def _new_conn(self) -> socket.socket:
        self._refused = False
        attempt = _CURRENT.get()
        sock = attempt.connect(super()._new_conn)
        attempt.hold(sock)
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # kept alive from an earlier attempt
            _CURRENT.get().hold(self.sock)
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        """Send; a file's piece (a memoryview) in parts, so that the timeout is between parts."""
        if not isinstance(data, memoryview):
            super().send(data)
            return
        attempt = _CURRENT.get()
        self.sock.settimeout(attempt.patience.idle_s)  # urllib3 sends with the timeout for connecting
        while data:
            if self._has_answered(attempt.patience.idle_s):
                self._refused = True
                raise BrokenPipeError("answered before all was sent")  # after which urllib3 reads the answer
            sent = self.sock.send(data)
            attempt.moved(sent)
            data = data[sent:]

    def _has_answered(self, idle_s: float) -> bool:
        """Wait until more can be sent, or True: there is an answer already, so a refusal.

        Not with TLS, which has messages that are no answer.
        """
        if type(self.sock) is not socket.socket:
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | select.POLLOUT)
        events = poll.poll(idle_s * 1000)
        if not events:
            raise TimeoutError("nothing more is taken")
        return bool(events[0][1] & select.POLLIN)


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Requests' adapter with our connections, straight or through a proxy."""

    _POOLS: ClassVar = {"http": _Pool, "https": _TlsPool}

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = self._POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._POOLS
        return manager


def _as_it_is(request: PreparedRequest) -> PreparedRequest:
    return request


def hide_queries(record: logging.LogRecord) -> bool:
    """A filter for urllib3's log: it writes URLs with their queries, and those of signed URLs are secrets."""
    if isinstance(record.args, tuple):
        record.args = tuple(_QUERY.sub("?…", arg) if isinstance(arg, str) else arg for arg in record.args)
    return True


class StorageSession(Session):
    """A session that sends what it is told and nothing else: no netrc, no cookies, no redirects.

    It may be shared by threads, each of them inside an `Attempt`.
    """

    def __init__(self, pool_size: int) -> None:
        super().__init__()
        self.auth = _as_it_is  # without one, requests looks into ~/.netrc
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.headers.clear()
        self.headers.update({"User-Agent": "decode-agent", "Accept": "*/*", "Accept-Encoding": "identity"})
        adapter = _Adapter(pool_connections=pool_size, pool_maxsize=pool_size)
        self.mount("http://", adapter)
        self.mount("https://", adapter)
        for name in "urllib3.connectionpool", "urllib3.connection":
            logging.getLogger(name).addFilter(hide_queries)

    def get_redirect_target(self, resp: Response) -> None:
        """None: a redirect is an answer like others, and requests would read all of its body."""
