"""Cognito's ``InitiateAuth``, as far as a worker needs it, and ``/access_info``.

https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_InitiateAuth.html
"""

import json
import uuid
from typing import Any

from fastapi import APIRouter, Request, Response

from mock_api.accounts import Account, AccountState
from mock_api.security import State
from mock_api.state import MockState

router = APIRouter()
_TARGET = "AWSCognitoIdentityProviderService.InitiateAuth"
_CONTENT_TYPE = "application/x-amz-json-1.1"


class _CognitoError(Exception):
    """An answer with status 400 and a ``__type``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@router.get("/access_info")
async def get_access_info(state: State) -> dict[str, Any]:
    """Where to log in; needs no token."""
    settings = state.settings
    return {
        "cognito": {
            "user_pool_id": settings.user_pool_id,
            "client_id": settings.client_id,
            "region": settings.region,
        }
    }


@router.get("/")
async def get_root() -> dict[str, str]:
    """A greeting."""
    return {"message": "Stand-in of the DECODE OpenCloud worker-facing API"}


@router.post("/")
async def call_cognito(request: Request, state: State) -> Response:
    """Cognito's endpoint, told from the API's root by method and ``X-Amz-Target``."""
    try:
        answer = _initiate_auth(state, await _body_of(request))
    except _CognitoError as error:
        body = json.dumps({"__type": error.kind, "message": error.message})
        return Response(body, 400, {"x-amzn-errortype": error.kind}, _CONTENT_TYPE)
    return Response(json.dumps(answer), 200, media_type=_CONTENT_TYPE)


async def _body_of(request: Request) -> dict[str, Any]:
    if request.headers.get("x-amz-target") != _TARGET:
        raise _CognitoError("UnknownOperationException", "")
    try:
        body = await request.json()
    except ValueError as error:
        raise _CognitoError("SerializationException", "not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("AuthParameters", {}), dict):
        raise _CognitoError("SerializationException", "not an object")
    return body


def _initiate_auth(state: MockState, body: dict[str, Any]) -> dict[str, Any]:
    client_id = body.get("ClientId")
    if client_id != state.settings.client_id:
        raise _CognitoError("ResourceNotFoundException", f"User pool client {client_id} does not exist.")
    parameters = body.get("AuthParameters", {})
    match body.get("AuthFlow"):
        case "USER_PASSWORD_AUTH":
            return _log_in(state, parameters.get("USERNAME"), parameters.get("PASSWORD"))
        case "REFRESH_TOKEN_AUTH" | "REFRESH_TOKEN":
            return _refresh(state, parameters.get("REFRESH_TOKEN"))
        case flow:
            raise _CognitoError("InvalidParameterException", f"Unsupported AuthFlow {flow}")


def _log_in(state: MockState, username: str | None, password: str | None) -> dict[str, Any]:
    if not username or not password:
        raise _CognitoError("InvalidParameterException", "Missing required parameter USERNAME or PASSWORD")
    account = state.accounts.find(username)
    if account is None:
        raise _CognitoError("UserNotFoundException", "User does not exist.")
    if account.password != password:
        raise _CognitoError("NotAuthorizedException", "Incorrect username or password.")
    match account.state:
        case AccountState.confirmed:
            refresh_token = state.accounts.issue_refresh_token(username)
            return _tokens(state, account, {"RefreshToken": refresh_token})
        case AccountState.new_password:
            return _challenge("NEW_PASSWORD_REQUIRED", account, {"requiredAttributes": "[]"})
        case AccountState.mfa:
            return _challenge("SOFTWARE_TOKEN_MFA", account, {})
        case AccountState.reset:
            raise _CognitoError("PasswordResetRequiredException", "Password reset required for the user")
        case AccountState.disabled:
            raise _CognitoError("NotAuthorizedException", "User is disabled.")


def _refresh(state: MockState, token: str | None) -> dict[str, Any]:
    """New tokens, but no new refresh token: the old one stays good."""
    username = state.accounts.owner_of_refresh_token(token or "")
    account = state.accounts.find(username) if username else None
    if account is None:
        raise _CognitoError("NotAuthorizedException", "Refresh Token has been revoked")
    return _tokens(state, account, {})


def _tokens(state: MockState, account: Account, more: dict[str, str]) -> dict[str, Any]:
    result = {
        "AccessToken": state.accounts.issue_token(account.username, "access"),
        "ExpiresIn": int(state.settings.token_life_s),
        "TokenType": "Bearer",
        "IdToken": state.accounts.issue_token(account.username),
    }
    return {"ChallengeParameters": {}, "AuthenticationResult": result | more}


def _challenge(name: str, account: Account, more: dict[str, str]) -> dict[str, Any]:
    parameters = {"USERNAME": account.username, "USER_ID_FOR_SRP": account.username}
    parameters["userAttributes"] = json.dumps({"email": account.username})
    return {"ChallengeName": name, "Session": str(uuid.uuid4()), "ChallengeParameters": parameters | more}
