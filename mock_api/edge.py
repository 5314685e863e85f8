"""What every request passes first: the log, the faults, and the choice between API and storage."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mock_api.bodies import header_of
from mock_api.requestlog import LoggedRequest
from mock_api.state import MockState
from mock_api.strike import Strike


class Edge:
    """The outermost ASGI application."""

    def __init__(self, state: MockState, api: ASGIApp, storage: ASGIApp, storage_port: int) -> None:
        self._state = state
        self._api = api
        self._storage = storage
        self._storage_port = storage_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Logs the request, and lets it through or strikes it; ``/mock/`` is never struck."""
        is_storage = scope["server"][1] == self._storage_port
        app = self._storage if is_storage else self._api
        path = scope["raw_path"].decode("latin-1")
        if not is_storage and path.startswith("/mock/"):
            await app(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        authorization = header_of(scope, "authorization")
        account = self._state.accounts.peek(authorization)
        entry = self._state.log.begin(
            scope["method"],
            f"{path}?{query}" if query else path,
            account,
            has_authorization=authorization is not None,
            is_storage=is_storage,
        )
        noted = self._note_status(send, entry)
        struck = self._state.faults.strike(scope["method"], path, query, account)
        if struck is None:
            await app(scope, receive, noted)
            return
        self._state.log.note(entry, fault=struck.name)
        await Strike(struck.fault, scope, receive, noted).apply(app)

    def _note_status(self, send: Send, entry: list[LoggedRequest]) -> Send:
        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._state.log.note(entry, status=message["status"])
            await send(message)

        return noting_send
