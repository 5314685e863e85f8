"""An S3-like storage on a port of its own: presigned downloads, form uploads, errors as XML."""

from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from fastapi import HTTPException, Request
from starlette.datastructures import URL
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mock_api.bodies import FileBody, header_of, write_chunks
from mock_api.multipart import BadForm, ClientGone, FormReader, Part, boundary_of
from mock_api.signing import FILENAME, Denied, Signer
from mock_api.state import MockState
from mock_api.storage import BadName, ObjectStorage

_FORM_MAX_BYTES = 64 * 1024
_MISSING_FILE = Denied(400, "InvalidArgument", "POST requires exactly one file upload per request.")


def storage_url_of(request: Request) -> str:
    """The storage's address: the host that the client called, the storage's port."""
    return str(URL(f"http://{request.headers['host']}").replace(port=request.app.state.storage_port))


def describe_download(state: MockState, file_id: str, storage_url: str) -> dict[str, Any]:
    """A presigned URL for ``s3://bucket/key``; 403 for another bucket, 404 where nothing is."""
    storage = _bucket_of(state)
    bucket, _, object_key = file_id.removeprefix("s3://").partition("/")
    if not file_id.startswith("s3://") or bucket != state.settings.bucket:
        raise HTTPException(403, "Bucket does not match")
    key = storage.key_of_object(object_key)
    if key is None or (storage.find(key) is None and not storage.is_folder(key)):
        raise HTTPException(404, "Not Found")
    url = storage_url + _signer_of(state).presign_get(object_key)
    return {"method": "get", "url": url, "headers": {}, "data": {}}


def describe_upload(state: MockState, folder: str, storage_url: str) -> dict[str, Any]:
    """A presigned form for all files of one folder."""
    fields = _signer_of(state).presign_post(_bucket_of(state).object_key(folder))
    return {"method": "post", "url": f"{storage_url}/{state.settings.bucket}", "headers": {}, "data": fields}


def _bucket_of(state: MockState) -> ObjectStorage:
    if not isinstance(state.storage, ObjectStorage):
        raise TypeError("this server has local storage")
    return state.storage


def _signer_of(state: MockState) -> Signer:
    return Signer(state.settings, state.url_key)


class BucketApp:
    """The ASGI application of the storage's port."""

    def __init__(self, state: MockState) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request to the bucket."""
        try:
            answer = await self._answer(scope, receive)
        except Denied as denied:
            answer = _error(denied)
        except ClientGone:
            answer = Response(status_code=400)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        bucket, _, object_key = scope["path"].lstrip("/").partition("/")
        if bucket != self._state.settings.bucket or not isinstance(self._state.storage, ObjectStorage):
            raise Denied(404, "NoSuchBucket", "The specified bucket does not exist", BucketName=bucket)
        match scope["method"], object_key:
            case "GET" | "HEAD", str() if object_key:
                return self._download(scope, object_key)
            case "POST", "":
                return await self._upload(scope, receive)
            case _:
                raise Denied(
                    405, "MethodNotAllowed", "The specified method is not allowed against this resource."
                )

    def _download(self, scope: Scope, object_key: str) -> ASGIApp:
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if header_of(scope, "authorization") is not None:
            raise _two_ways_in(header_of(scope, "authorization") or "")
        _signer_of(self._state).check_get(scope["method"], object_key, query)
        storage = _bucket_of(self._state)
        key = storage.key_of_object(object_key)
        stored = storage.find(key) if key is not None else None
        if stored is None:
            raise Denied(404, "NoSuchKey", "The specified key does not exist.", Key=object_key)
        return FileBody(stored)

    async def _upload(self, scope: Scope, receive: Receive) -> Response:
        """Takes a form: policy fields, then the file; what comes behind the file is ignored, as S3 does."""
        length = header_of(scope, "content-length")
        if length is None:
            raise Denied(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        if header_of(scope, "authorization") is not None:
            raise _two_ways_in(header_of(scope, "authorization") or "")
        limit = self._state.settings.s3_max_post_bytes
        if int(length) > limit + _FORM_MAX_BYTES:
            raise _too_large(int(length), limit)
        try:
            reader = FormReader(boundary_of(header_of(scope, "content-type") or ""), receive)
            fields, part = await _read_fields(reader)
            _signer_of(self._state).check_post(fields)
            temporary = await write_chunks(reader.chunks(), _bucket_of(self._state), limit)
            if temporary is None:
                raise _too_large(int(length), limit)
            etag = self._keep(fields["key"], part, temporary)
            await reader.drain()
        except BadForm as error:
            text = "The body of your POST request is not well-formed multipart/form-data."
            raise Denied(400, "MalformedPOSTRequest", text) from error
        return Response(status_code=204, headers={"etag": etag})

    def _keep(self, key_field: str, part: Part, temporary: Any) -> str:
        """Stores the file; S3 takes what follows the last slash or backslash of the name."""
        name = (part.filename or "").replace("\\", "/").rpartition("/")[2]
        object_key = key_field.replace(FILENAME, name)
        storage = _bucket_of(self._state)
        key = storage.key_of_object(object_key)
        try:
            storage.store(key or "", temporary)
        except BadName as error:
            raise Denied(400, "KeyTooLongError", "Your key is too long") from error
        stored = storage.find(key or "")
        return stored.etag if stored else ""


async def _read_fields(reader: FormReader) -> tuple[dict[str, str], Part]:
    fields: dict[str, str] = {}
    while (part := await reader.next_part()) is not None:
        if part.name == "file":
            return fields, part
        fields[part.name] = await reader.text(_FORM_MAX_BYTES)
    raise _MISSING_FILE


def _two_ways_in(value: str) -> Denied:
    text = (
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string"
        " parameter or the Authorization header should be specified"
    )
    return Denied(400, "InvalidArgument", text, ArgumentName="Authorization", ArgumentValue=value)


def _too_large(size_bytes: int, limit: int) -> Denied:
    text = "Your proposed upload exceeds the maximum allowed size"
    return Denied(400, "EntityTooLarge", text, ProposedSize=str(size_bytes), MaxSizeAllowed=str(limit))


def _error(denied: Denied) -> Response:
    elements = {"Code": denied.code, "Message": denied.message, **denied.elements}
    elements |= {"RequestId": "MOCKREQUEST", "HostId": "mock"}
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'
    return Response(body, denied.status, media_type="application/xml")
