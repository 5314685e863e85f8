"""The connection behind a request, for faults that close it: uvicorn tells an application nothing of it."""

import asyncio
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_KEY = "mock_api.connection"


@dataclass(frozen=True, slots=True)
class Connection:
    """One TCP connection; ``gone`` is set when it has ended, from whichever side."""

    transport: asyncio.Transport
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def sleep(self, seconds: float) -> None:
        """Sleeps, but no longer than the connection lives."""
        try:
            await asyncio.wait_for(self.gone.wait(), seconds)
        except TimeoutError:
            return


def connection_of(scope: Scope) -> Connection:
    """The connection that a request came by."""
    connection: Connection = scope[_KEY]
    return connection


class _Announced:
    """Adds the connection to every request's scope."""

    def __init__(self, app: ASGIApp, connection: Connection) -> None:
        self._app = app
        self._connection = connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_KEY] = self._connection
        await self._app(scope, receive, send)


class ConnectedProtocol(H11Protocol):
    """uvicorn's protocol, whose requests know their connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Wraps the application for this connection."""
        super().connection_made(transport)
        self._connection = Connection(transport)
        self.app = _Announced(self.app, self._connection)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wakes whoever waits for the end."""
        super().connection_lost(exc)
        self._connection.gone.set()
