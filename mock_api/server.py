"""The running server: a thread with an event loop and two listening sockets."""

import asyncio
import contextlib
import re
import socket
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from mock_api.accounts import DEFAULT_ACCOUNTS, Account
from mock_api.app import build_app
from mock_api.connection import ConnectedProtocol
from mock_api.faults import Fault, FaultKind
from mock_api.job import Job, Mail
from mock_api.requestlog import LoggedRequest
from mock_api.settings import Settings
from mock_api.specs import Submission, UploadType
from mock_api.state import MockState, Output

_START_TIMEOUT_S = 20
_PATIENCE_S = 2
_QUIET_TURNS = 5  # a connection that was just accepted shows up some turns of the loop later


class _Server(uvicorn.Server):
    """A server that stops at once: uvicorn's own polls, and waits for its clients."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """Ends the loop; call it in the server's thread."""
        self.should_exit = True
        self._wake.set()

    async def main_loop(self) -> None:
        """Serves until `stop`; keeps the Date header right meanwhile."""
        self.listening.set()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes everything now, whoever is still waiting for an answer."""
        # Accept no more, but close the listeners last: asyncio fails on what it accepted just before.
        for sock in sockets or []:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        quiet_turns = 0
        while quiet_turns < _QUIET_TURNS:
            is_busy = bool(self.server_state.tasks or self.server_state.connections)
            quiet_turns = 0 if is_busy else quiet_turns + 1
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0.001)
            if asyncio.get_running_loop().time() > deadline:
                for task in self.server_state.tasks:
                    task.cancel()
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()


class RunningMock:
    """A stand-in on an ephemeral port of the loopback, for the time of a ``with`` block.

    Args:
        settings: The knobs, see `Settings`; ``Settings(storage="s3")`` for the S3-like storage.
        accounts: Who may log in.
        root: Where the files lie; None for a temporary folder that is removed at the end.
        host: The address to listen on.
        port: The API's port; 0 for any free one.
        storage_port: The storage's port; 0 for any free one.

    Attributes:
        state: Everything the server knows; may be looked at and changed while it runs.
        url: The API's base URL, without a slash at the end; also Cognito's endpoint.
        storage_url: The S3-like storage's base URL, on a port of its own.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        accounts: Iterable[Account] = DEFAULT_ACCOUNTS,
        *,
        root: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        storage_port: int = 0,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="mock-api-") if root is None else None
        self.state = MockState(
            root or Path(self._temporary.name if self._temporary else ""), settings, accounts
        )
        self._host = host
        self._ports = (port, storage_port)
        self._thread: threading.Thread | None = None
        self._server: _Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url = self.storage_url = ""

    def start(self) -> Self:
        """Serves from now on; `__enter__` does it."""
        sockets = self._listen()
        port, storage_port = (sock.getsockname()[1] for sock in sockets)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url, self.storage_url = f"http://{host}:{port}", f"http://{host}:{storage_port}"
        self._server = _Server(_config_of(build_app(self.state, storage_port)))
        self._thread = threading.Thread(target=self._serve, args=(self._server, sockets), name="mock-api")
        self._thread.start()
        if not self._server.listening.wait(_START_TIMEOUT_S):
            raise RuntimeError("the stand-in did not start")
        return self

    def stop(self) -> None:
        """Drops every connection, ends the thread, removes the files; `__exit__` does it."""
        if self._thread is not None and self._loop is not None and self._server is not None:
            self._loop.call_soon_threadsafe(self._server.stop)
            self._thread.join()
            self._thread = None
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _listen(self) -> list[socket.socket]:
        """Both listening sockets; OSError, with nothing left behind, if a port is taken."""
        sockets: list[socket.socket] = []
        try:
            for port in self._ports:
                family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
                sockets.append(socket.create_server((self._host, port), family=family))
                # Inherited by every connection: asyncio leaves it out for sockets that name no protocol, and
                # then every answer waits 40 ms for an acknowledgement.
                sockets[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            for sock in sockets:
                sock.close()
            self.stop()
            raise OSError(f"cannot listen on {self._host} port {port}: {error.strerror}") from error
        return sockets

    def _serve(self, server: _Server, sockets: list[socket.socket]) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await server.serve(sockets=sockets)

        asyncio.run(serve())

    def submit(self, *, files: Mapping[str, bytes | Path] | None = None, **submission: Any) -> str:
        """Queues a job; the arguments are the fields of `Submission`. Returns the queue's id."""
        return self.state.submit(Submission(**submission), files)

    def fault(self, kind: FaultKind | str, method: str | None = None, path: str = "", **rest: Any) -> str:
        """Adds a fault rule; the arguments are the fields of `Fault`. Returns its name."""
        return self.state.faults.add(Fault(kind=FaultKind(kind), method=method, path=path, **rest))

    def job(self, job_id: str) -> Job:
        """A copy of a job; KeyError for an unknown id."""
        job = self.state.queue.get(job_id)
        if job is None:
            raise KeyError(job_id)
        return job

    def cancel(self, job_id: str) -> None:
        """Its user deletes a job."""
        self.state.queue.cancel(job_id)

    def outputs(self, job_id: str) -> list[Output]:
        """What was uploaded for a job."""
        return self.state.outputs(job_id)

    def output(self, job_id: str, path: str, kind: UploadType | str = UploadType.output) -> bytes:
        """The bytes of one uploaded file; KeyError if there is none."""
        stored = self.state.output_file(job_id, UploadType(kind), path)
        if stored is None:
            raise KeyError(f"{kind}: {path}")
        return stored.path.read_bytes()

    def token(self, username: str = "worker1@example.com", life_s: float | None = None) -> str:
        """A fresh ID token of an account; a negative ``life_s`` makes an expired one."""
        return self.state.accounts.issue_token(username, life_s=life_s)

    def expire_tokens(self) -> None:
        """Ends the life of all tokens given out so far, except refresh tokens and static ones."""
        self.state.accounts.expire_tokens()

    def advance(self, seconds: float) -> None:
        """Sets the stand-in's clock forward: tokens and URLs expire, silent jobs time out."""
        self.state.settings.clock_offset_s += seconds

    def requests(self, method: str | None = None, path: str = "") -> list[LoggedRequest]:
        """The logged requests of a method whose raw path matches a regular expression."""
        return [
            request
            for request in self.state.log.entries()
            if method in {None, request.method} and re.search(path, request.path)
        ]

    def mails(self, job_id: str | None = None) -> list[Mail]:
        """The e-mails sent so far, of one job or of all."""
        return [mail for mail in self.state.queue.mails() if job_id in {None, mail.job_id}]


def _config_of(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=ConnectedProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=256 * 1024,
    )
