"""Presigned URLs and form policies in S3's shape, signed with a key of this process.

The fields are those of https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html and
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html; the
signature is not AWS's.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from mock_api.settings import Settings

_ALGORITHM = "AWS4-HMAC-SHA256"
_DATE = "%Y%m%dT%H%M%SZ"
FILENAME = "${filename}"


class Denied(Exception):
    """S3's answer to what it does not take: status, code, message and further elements."""

    def __init__(self, status: int, code: str, message: str, **elements: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.elements = elements


class Signer:
    """Signs for one bucket and checks what it signed."""

    def __init__(self, settings: Settings, key: bytes) -> None:
        self._settings = settings
        self._key = key

    def presign_get(self, object_key: str) -> str:
        """Path and query of a URL that downloads an object, quoted as boto3 quotes it."""
        now = self._settings.now()
        query = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": self._credential(now),
            "X-Amz-Date": _date(now),
            "X-Amz-Expires": f"{self._settings.url_life_s:g}",
            "X-Amz-SignedHeaders": "host",
        }
        query["X-Amz-Signature"] = self._sign("GET", object_key, query)
        return f"/{self._settings.bucket}/{quote(object_key, safe='/~')}?{urlencode(query)}"

    def check_get(self, method: str, object_key: str, query: Mapping[str, str]) -> None:
        """Raises `Denied` unless the query was signed for this request and has not expired."""
        given = dict(query)
        signature = given.pop("X-Amz-Signature", None)
        if signature is None or "X-Amz-Date" not in given or "X-Amz-Expires" not in given:
            raise Denied(403, "AccessDenied", "Access Denied")
        expires = _time(given["X-Amz-Date"]) + float(given["X-Amz-Expires"])
        now = self._settings.now()
        if now >= expires:
            raise Denied(
                403,
                "AccessDenied",
                "Request has expired",
                **{
                    "X-Amz-Expires": given["X-Amz-Expires"],
                    "Expires": _iso(expires),
                    "ServerTime": _iso(now),
                },
            )
        if not hmac.compare_digest(signature, self._sign(method, object_key, given)):
            raise Denied(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )

    def presign_post(self, folder_key: str) -> dict[str, str]:
        """The form fields that upload any file into a folder."""
        now = self._settings.now()
        fields = {
            "key": f"{folder_key}/{FILENAME}",
            "x-amz-algorithm": _ALGORITHM,
            "x-amz-credential": self._credential(now),
            "x-amz-date": _date(now),
        }
        conditions: list[Any] = [
            {"bucket": self._settings.bucket},
            ["starts-with", "$key", f"{folder_key}/"],
            *({name: value} for name, value in fields.items() if name != "key"),
        ]
        policy = {"expiration": _iso(now + self._settings.url_life_s), "conditions": conditions}
        encoded = base64.b64encode(json.dumps(policy).encode()).decode()
        return {**fields, "policy": encoded, "x-amz-signature": self._sign("POST", encoded, {})}

    def check_post(self, fields: Mapping[str, str]) -> None:
        """Raises `Denied` unless the fields before the file are those of an unexpired policy."""
        policy = fields.get("policy")
        if policy is None or "x-amz-signature" not in fields:
            raise Denied(403, "AccessDenied", "Access Denied")
        if not hmac.compare_digest(fields["x-amz-signature"], self._sign("POST", policy, {})):
            raise Denied(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        content = json.loads(base64.b64decode(policy))
        if self._settings.now() >= datetime.fromisoformat(content["expiration"]).timestamp():
            raise Denied(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
        self._check_conditions(content["conditions"], fields)

    def _check_conditions(self, conditions: list[Any], fields: Mapping[str, str]) -> None:
        named = {"policy", "x-amz-signature"}
        for condition in conditions:
            if isinstance(condition, dict):
                ((name, wanted),) = condition.items()
                met = name == "bucket" or fields.get(name) == wanted
            else:
                name, wanted = condition[1].removeprefix("$"), condition[2]
                met = fields.get(name, "").startswith(wanted)
            if not met:
                text = f"Invalid according to Policy: Policy Condition failed: {json.dumps(condition)}"
                raise Denied(403, "AccessDenied", text)
            named.add(name)
        extra = sorted(name for name in fields if name not in named and not name.startswith("x-ignore-"))
        if extra:
            text = f"Invalid according to Policy: Extra input fields: {', '.join(extra)}"
            raise Denied(403, "AccessDenied", text)

    def _credential(self, now: float) -> str:
        return f"MOCKACCESSKEY/{_date(now)[:8]}/{self._settings.region}/s3/aws4_request"

    def _sign(self, method: str, subject: str, query: Mapping[str, str]) -> str:
        text = json.dumps([method, subject, sorted(query.items())])
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime(_DATE)


def _time(date: str) -> float:
    try:
        return datetime.strptime(date, _DATE).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise Denied(403, "AccessDenied", "X-Amz-Date must be in the ISO8601 Long Format") from error


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
