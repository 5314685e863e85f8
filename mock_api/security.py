"""The bearer token in front of every route of the API."""

from typing import Annotated

from fastapi import Depends, HTTPException, Request

from mock_api.accounts import Account, Refused
from mock_api.state import MockState


def state_of(request: Request) -> MockState:
    """The state that this server serves."""
    state: MockState = request.app.state.mock
    return state


State = Annotated[MockState, Depends(state_of)]


async def _authenticate(request: Request, state: State) -> Account:
    try:
        return state.accounts.verify(request.headers.get("authorization"))
    except Refused as refused:
        raise HTTPException(refused.status, refused.detail) from refused


Worker = Annotated[Account, Depends(_authenticate)]
