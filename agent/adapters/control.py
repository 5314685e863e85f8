"""The control socket: HTTP on a Unix socket for `decode-agent status` and its like; see docs/control.md.

A few threads, each with a bound in time; whatever is done to the socket, the agent works on.
"""

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Self

from agent.adapters.control_http import BUSY, Exchange
from agent.adapters.control_socket import bound_socket, peer_of, trusted_groups
from agent.core.control_api import Refused, may_ask
from agent.core.stopping import Stop
from agent.ports_host import Controls

log = logging.getLogger(__name__)

SEATS = 16
LOG_SEATS = 8  # so that somebody can still ask how things are
_STRANGERS_SEATS = 2
_BREATH_S = 1.0
_LET_FINISH_S = 1.0
_END_S = 10.0


class ControlServer:
    """Answers on the socket at `path` while the block runs; a socket that cannot be made is a warning."""

    def __init__(self, path: Path, controls: Controls) -> None:
        self._path = path
        self._controls = controls
        self._seats = threading.Semaphore(SEATS)
        self._log_seats = threading.Semaphore(LOG_SEATS)
        self._strangers_seats = threading.Semaphore(_STRANGERS_SEATS)
        self._stop = Stop()
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._followers: dict[int, Stop] = {}

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        try:
            self._start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            self._stack.close()
            why = getattr(error, "strerror", None) or str(error)
            log.warning(f"No control socket at {self._path} ({why}): `decode-agent status` will not work.")
        return self

    def _start(self) -> None:
        listener = self._stack.enter_context(bound_socket(self._path))
        self._groups = trusted_groups(self._path)
        self._poll = self._stack.enter_context(select.epoll())
        self._poll.register(listener, select.EPOLLIN)
        alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stack.callback(os.close, alarm)
        self._poll.register(alarm, select.EPOLLIN)
        thread = threading.Thread(target=self._listen, args=(listener, alarm), name="control", daemon=True)
        thread.start()
        self._stack.callback(self._hang_up)
        self._stack.callback(thread.join, _END_S)
        self._stack.callback(os.eventfd_write, alarm, 1)

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._stack.close()

    def _listen(self, listener: socket.socket, alarm: int) -> None:
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == alarm:
                    return
                if descriptor == listener.fileno():
                    self._accept(listener)
                else:
                    self._note_hang_up(descriptor)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.debug(f"The control socket takes no connection for now: {error.strerror}.")
            self._stop.wait(_BREATH_S)  # no descriptors left, say: there may be some again soon
            return
        try:
            self._seat(connection)
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            log.warning(f"A connection to the control socket was dropped: {error}.")
            connection.close()

    def _seat(self, connection: socket.socket) -> None:
        """Give the connection a thread of its own, or close it if there are too many."""
        is_allowed = may_ask(peer_of(connection), os.geteuid(), self._groups)
        seats = self._seats if is_allowed else self._strangers_seats
        if not seats.acquire(blocking=False):
            with connection, suppress(OSError):
                connection.send(BUSY, socket.MSG_DONTWAIT)
            return
        controls = self._controls if is_allowed else None
        thread = threading.Thread(
            target=self._attend, args=(connection, controls, seats), name="control-answer"
        )
        thread.daemon = True
        with self._lock:
            self._open[thread] = connection
        try:
            thread.start()
        except RuntimeError:
            self._forget(thread, seats)
            raise

    def _attend(
        self, connection: socket.socket, controls: Controls | None, seats: threading.Semaphore
    ) -> None:
        try:
            with connection:
                Exchange(connection, controls, self._followed)
        except Exception:
            log.exception("A connection to the control socket failed unexpectedly.")
        finally:
            self._forget(threading.current_thread(), seats)

    def _forget(self, thread: threading.Thread, seats: threading.Semaphore) -> None:
        with self._lock:
            del self._open[thread]
        seats.release()

    @contextmanager
    def _followed(self, connection: socket.socket) -> Iterator[Stop]:
        """A stop that is set when the other end hangs up, or the agent ends; `Refused` if too many read."""
        if not self._log_seats.acquire(blocking=False):
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{LOG_SEATS} logs are being read already")
        descriptor = connection.fileno()
        try:
            with self._stop.child() as stop:
                with self._lock:
                    self._poll.register(descriptor, 0)  # hanging up is always told
                    self._followers[descriptor] = stop
                try:
                    yield stop
                finally:
                    with self._lock:
                        if self._followers.pop(descriptor, None) is not None:
                            self._poll.unregister(descriptor)
        finally:
            self._log_seats.release()

    def _note_hang_up(self, descriptor: int) -> None:
        """Look again: the number may be that of another connection by now."""
        with self._lock:
            poll = select.poll()
            poll.register(descriptor, 0)
            if descriptor not in self._followers or not poll.poll(0):
                return
            stop = self._followers.pop(descriptor)
            self._poll.unregister(descriptor)
        stop.set()

    def _hang_up(self) -> None:
        """End every connection; answers under way get a moment."""
        for how, seconds in ((socket.SHUT_RD, _LET_FINISH_S), (socket.SHUT_RDWR, _END_S)):
            with self._lock:
                threads = list(self._open)
                for connection in self._open.values():
                    with suppress(OSError):
                        connection.shutdown(how)
            deadline = time.monotonic() + seconds
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        if self._open:
            log.warning(f"{len(self._open)} requests on the control socket did not end.")
