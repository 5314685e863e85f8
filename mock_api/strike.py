"""A fault applied to a request: what happens on the wire."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mock_api.connection import connection_of
from mock_api.faults import Fault, FaultKind

_PIECES_PER_S = 20


class _Cut(Exception):
    """The answer ends here on purpose."""


class Strike:
    """One fault, one request."""

    def __init__(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        self._fault = fault
        self._scope = scope
        self._receive = receive
        self._send = send
        self._connection = connection_of(scope)
        self._answered_bytes = 0
        self._announced_bytes = 0

    async def apply(self, app: ASGIApp) -> None:
        """Has the request's effect first if the fault comes after it, then strikes."""
        fault = self._fault
        answer: list[Message] = []
        if fault.after:
            await app(self._scope, self._receive, _keep_in(answer))
        await self._connection.sleep(fault.delay_s)
        match fault.kind:
            case FaultKind.status:
                await self._answer_status()
            case FaultKind.delay:
                await _replay(answer, self._send) if fault.after else await app(
                    self._scope, self._receive, self._send
                )
            case FaultKind.drop:
                await self._read_body()
                self._connection.transport.abort()
                await self._connection.gone.wait()
            case FaultKind.hang:
                await self._read_body()
                await self._connection.gone.wait()
            case FaultKind.slow:
                await app(self._scope, self._receive_slowly, self._send_slowly)
            case FaultKind.truncate | FaultKind.stall | FaultKind.length:
                await self._answer_cut(app, answer)

    async def _answer_status(self) -> None:
        body = self._fault.body.encode()
        headers = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body))}
        headers |= {name.lower(): value for name, value in self._fault.headers.items()}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": self._fault.status, "headers": raw})
        await self._send({"type": "http.response.body", "body": body})

    async def _answer_cut(self, app: ASGIApp, answer: list[Message]) -> None:
        """The real answer up to where it is cut; then the connection closes, or nothing more comes."""
        send = self._send_other_length if self._fault.kind is FaultKind.length else self._send_in_part
        try:
            if self._fault.after:
                await _replay(answer, send)
            else:
                await app(self._scope, self._receive, send)
        except _Cut:
            if self._fault.kind is not FaultKind.stall:
                self._connection.transport.close()
            await self._connection.gone.wait()

    async def _send_in_part(self, message: Message) -> None:
        """Passes `at_bytes` of the body on."""
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            left = self._fault.at_bytes - self._answered_bytes
            self._answered_bytes += len(body)
            if len(body) > left:
                await self._send({**message, "body": body[:left], "more_body": True})
                raise _Cut
        await self._send(message)

    async def _send_other_length(self, message: Message) -> None:
        """Announces another length; a body that has too many bytes for it is cut to it."""
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            self._announced_bytes = max(int(headers.get(b"content-length", b"0")) + self._fault.length_off, 0)
            headers[b"content-length"] = str(self._announced_bytes).encode()
            await self._send({**message, "headers": list(headers.items())})
            return
        body = message.get("body", b"")[: self._announced_bytes - self._answered_bytes]
        self._answered_bytes += len(body)
        is_full = self._answered_bytes == self._announced_bytes
        if not is_full or body:
            await self._send({**message, "body": body, "more_body": not is_full})
        if not is_full and not message.get("more_body", False):
            raise _Cut

    async def _send_slowly(self, message: Message) -> None:
        """Passes the body on in small pieces."""
        if message["type"] != "http.response.body" or not message.get("body"):
            await self._send(message)
            return
        body = message["body"]
        step = max(int(self._fault.bytes_per_s / _PIECES_PER_S), 1)
        for at in range(0, len(body), step):
            piece = body[at : at + step]
            await self._send({**message, "body": piece, "more_body": True})
            await self._connection.sleep(len(piece) / self._fault.bytes_per_s)
            if self._connection.gone.is_set():
                return
        if not message.get("more_body", False):
            await self._send({"type": "http.response.body", "body": b""})

    async def _receive_slowly(self) -> Message:
        """Takes the request's body no faster than the fault allows."""
        message = await self._receive()
        await self._connection.sleep(len(message.get("body", b"")) / self._fault.bytes_per_s)
        return message

    async def _read_body(self) -> None:
        """Reads `at_bytes` of the request's body, or all of it if the effect comes first and has read it."""
        left = 0 if self._fault.after else self._fault.at_bytes
        while left > 0:
            message = await self._receive()
            left -= len(message.get("body", b""))
            if not message.get("more_body", False):
                return


def _keep_in(answer: list[Message]) -> Send:
    async def keep(message: Message) -> None:
        answer.append(message)

    return keep


async def _replay(answer: list[Message], send: Send) -> None:
    for message in answer:
        await send(message)
