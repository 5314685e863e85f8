"""A running agent as its command line sees it: the other end of the control socket."""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from json import dumps
from pathlib import Path

from agent.core import control_api as api
from agent.core.errors import ServiceDown, ServiceTrouble
from agent.core.status import AgentStatus, Mode, PastJob, Released

_MOST_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_HEADERS = {"Content-Type": "application/json"}


class ControlClient:
    """Asks the agent behind the socket at `path`; each method is one connection.

    Raises `ServiceDown` when nobody listens, `ServiceTrouble` when it refuses or breaks off.
    """

    def __init__(self, path: Path, timeout_s: float = 30.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def status(self) -> AgentStatus:
        """What it is doing now."""
        return api.status_in(self.ask("GET", "/v1/status"))

    def history(self, limit: int) -> list[PastJob]:
        """The jobs that are over, the last first; 10,000 at most."""
        return api.history_in(self.ask("GET", api.jobs_target(limit)))

    def steer(self, mode: Mode) -> None:
        """The owner asks for this."""
        self.ask("POST", "/v1/mode", dumps({"mode": mode}).encode())

    def reload(self) -> tuple[str, ...]:
        """Have it read its settings again; what changed. `ConfigError`: they are wrong, nothing changed."""
        return api.changes_in(self.ask("POST", "/v1/reload"))

    def release(self, job_ids: Sequence[int], reason: str) -> Released:
        """Have these jobs given back to the queue, all of them if none is named."""
        body = dumps({"jobs": list(job_ids), "reason": reason}).encode()
        return api.released_in(self.ask("POST", "/v1/release", body))

    def ask(self, method: str, target: str, body: bytes = b"") -> bytes:
        """The body of the answer, as JSON."""
        with self._asked(method, target, body, self._timeout_s) as answer:
            said = answer.read(_MOST_BYTES)
            if answer.length:
                raise HTTPException("it is cut off")
            return said

    def log(self, job_id: int, *, follow: bool) -> Iterator[bytes]:
        """The log of a job in pieces as they come, however long that takes."""
        with self._asked("GET", api.log_target(job_id, follow=follow), b"", None) as answer:
            while piece := answer.read1(_PIECE_BYTES):
                yield piece

    @contextmanager
    def _asked(
        self, method: str, target: str, body: bytes, timeout_s: float | None
    ) -> Iterator[HTTPResponse]:
        """A good answer, its body not read yet."""
        with closing(HTTPConnection("localhost", timeout=self._timeout_s)) as connection:
            try:
                connection.sock = self._dial()
                with suppress(BrokenPipeError):  # one that refuses may hang up early: its answer counts
                    connection.request(method, target, body or None, _HEADERS)
                connection.sock.settimeout(timeout_s)
                with connection.getresponse() as answer:
                    if answer.status != HTTPStatus.OK:
                        raise api.error_in(answer.status, answer.read(_MOST_BYTES))
                    yield answer
            except TimeoutError:
                text = f"the service did not answer in {self._timeout_s:.0f} s"
                raise ServiceTrouble(f"{text}: journalctl -u decode-agent tells more") from None
            except (OSError, HTTPException, ValueError) as error:
                text = "the service broke off its answer: it is ending, or too many ask at once"
                raise ServiceTrouble(f"{text}; try again") from error

    def _dial(self) -> socket.socket:
        plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # With `settimeout` a queue that is full for a moment would not be waited for: unix(7), EAGAIN.
            limit = struct.pack("@ll", int(self._timeout_s), int(self._timeout_s % 1 * 1e6))
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            plug.connect(str(self._path))
            plug.settimeout(self._timeout_s)
        except OSError as error:
            plug.close()
            raise self._down_or_forbidden(error) from None
        return plug

    def _down_or_forbidden(self, error: OSError) -> ServiceTrouble:
        match error:
            case PermissionError():
                return api.not_allowed(f"this user may not talk to the agent at {self._path}")
            case TimeoutError() | BlockingIOError():
                return ServiceTrouble(f"the agent at {self._path} does not answer: try again")
            case FileNotFoundError() | ConnectionRefusedError():
                return ServiceDown(f"decode-agent is not running (nobody listens on {self._path})")
        return ServiceDown(f"nobody listens on {self._path}: {error.strerror or error}")
