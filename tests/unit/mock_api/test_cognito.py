"""`InitiateAuth`: the answers that the recorded exchanges do not show."""

import pytest

TARGET = "AWSCognitoIdentityProviderService.InitiateAuth"


def initiate(worker, flow="USER_PASSWORD_AUTH", client_id="mock-client", target=TARGET, **parameters):
    return worker.session.post(
        f"{worker.mock.url}/",
        json={"AuthFlow": flow, "ClientId": client_id, "AuthParameters": parameters},
        headers={"x-amz-target": target, "content-type": "application/x-amz-json-1.1"},
        timeout=60,
    )


def log_in(worker, name, password=None):
    password = password or f"{name}-password"
    return initiate(worker, USERNAME=f"{name}@example.com", PASSWORD=password)


def test_id_token_opens_the_api(mock, worker):
    """For the life that the answer names; a refresh gives another, and no new refresh token."""
    mock.state.settings.token_life_s = 60
    result = log_in(worker, "worker1").json()["AuthenticationResult"]
    assert (result["ExpiresIn"], result["TokenType"]) == (60, "Bearer")
    worker.headers["authorization"] = f"Bearer {result['IdToken']}"
    assert worker.call("GET", "/jobs?memory=1").status_code == 200
    mock.advance(61)
    assert worker.call("GET", "/jobs?memory=1").status_code == 401
    again = initiate(worker, "REFRESH_TOKEN_AUTH", REFRESH_TOKEN=result["RefreshToken"]).json()
    assert "RefreshToken" not in again["AuthenticationResult"]
    worker.headers["authorization"] = f"Bearer {again['AuthenticationResult']['IdToken']}"
    assert worker.call("GET", "/jobs?memory=1").status_code == 200


def test_access_token_is_not_the_id_token(worker):
    """The API takes the ID token only."""
    result = log_in(worker, "worker1").json()["AuthenticationResult"]
    worker.headers["authorization"] = f"Bearer {result['AccessToken']}"
    assert worker.call("GET", "/jobs?memory=1").status_code == 401


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"USERNAME": "worker1@example.com", "PASSWORD": "wrong"}, "NotAuthorizedException"),
        ({"USERNAME": "who@example.com", "PASSWORD": "x"}, "UserNotFoundException"),
        ({"USERNAME": "reset@example.com", "PASSWORD": "reset-password"}, "PasswordResetRequiredException"),
        ({"USERNAME": "worker1@example.com"}, "InvalidParameterException"),
        ({"flow": "REFRESH_TOKEN_AUTH", "REFRESH_TOKEN": "x"}, "NotAuthorizedException"),
        ({"flow": "USER_SRP_AUTH"}, "InvalidParameterException"),
        ({"client_id": "other"}, "ResourceNotFoundException"),
        ({"target": "AWSCognitoIdentityProviderService.SignUp"}, "UnknownOperationException"),
    ],
)
def test_errors_are_400_with_a_type(worker, arguments, kind):
    """In the body and in a header."""
    answer = initiate(worker, **arguments)
    assert (answer.status_code, answer.json()["__type"]) == (400, kind)
    assert answer.headers["x-amzn-errortype"] == kind


@pytest.mark.parametrize(
    ("name", "challenge"), [("fresh", "NEW_PASSWORD_REQUIRED"), ("mfa", "SOFTWARE_TOKEN_MFA")]
)
def test_challenges_are_200_without_tokens(worker, name, challenge):
    """Something is left to do for the account's owner."""
    answer = log_in(worker, name)
    assert answer.status_code == 200
    assert answer.json()["ChallengeName"] == challenge
    assert "AuthenticationResult" not in answer.json()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"AuthParameters": 1}'])
def test_what_is_no_request_is_told(mock, worker, body):
    """A serialization error, not a crash."""
    answer = worker.session.post(f"{mock.url}/", body, headers={"x-amz-target": TARGET}, timeout=60)
    assert (answer.status_code, answer.json()["__type"]) == (400, "SerializationException")


def test_root_greets(mock, worker):
    """GET / is the API's."""
    assert "message" in worker.session.get(mock.url, timeout=60).json()
