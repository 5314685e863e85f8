"""``/files`` and ``/jobs/{id}/files``: where to fetch an input, where to send an output."""

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.types import Receive, Scope, Send

from mock_api import s3
from mock_api.bodies import FileBody, write_chunks
from mock_api.jobs import NoSuchRow
from mock_api.multipart import BadForm, ClientGone, FormReader, boundary_of
from mock_api.routes_jobs import crash
from mock_api.security import State, Worker
from mock_api.specs import UploadType
from mock_api.storage import BadName, LocalStorage, ObjectStorage, StoredFile, key_of

router = APIRouter()


class _Passed(Response):
    """A response that is another ASGI application."""

    def __init__(self, body: FileBody) -> None:
        super().__init__()
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._body(scope, receive, send)


def _url_of_request(request: Request, path: str) -> str:
    """Scheme, host and a path with nothing quoted: Starlette builds URLs from the decoded path."""
    return f"{request.url.scheme}://{request.headers.get('host', '')}{path}"


def _own_request(request: Request, method: str, url: str) -> dict[str, Any]:
    """A request to the API itself, with the caller's own token."""
    headers = {"authorization": request.headers["authorization"]}
    return {"method": method, "url": url, "headers": headers, "data": {}}


def _find_local(storage: LocalStorage, file_id: str) -> tuple[StoredFile | None, bool]:
    """The file of an id, and whether it is a directory; raises 404 and 403."""
    try:
        key = storage.key_of_id(file_id)
    except BadName as error:
        raise HTTPException(403, "Not in the data directory") from error
    stored, is_folder = storage.find(key), storage.is_folder(key)
    if stored is None and not is_folder:
        raise HTTPException(404, "Not Found")
    return stored, is_folder


@router.get("/files/{file_id:path}/url")
async def get_download_url(file_id: str, request: Request, _worker: Worker, state: State) -> dict[str, Any]:
    """Says how to download a file. With local storage the URL holds the name as it is, unquoted."""
    if isinstance(state.storage, ObjectStorage):
        return s3.describe_download(state, file_id, s3.storage_url_of(request))
    _find_local(state.storage, file_id)
    return _own_request(request, "get", _url_of_request(request, f"/files/{file_id}/download"))


@router.get("/files/{file_id:path}/download", response_class=Response)
async def download(file_id: str, _worker: Worker, state: State) -> Response:
    """The file's bytes; a directory is a 500."""
    if isinstance(state.storage, ObjectStorage):
        raise HTTPException(404, "Not Found")
    stored, _ = _find_local(state.storage, file_id)
    return crash() if stored is None else _Passed(FileBody(stored))


@router.post("/jobs/{job_id}/files/url", status_code=201, response_model=None)
async def get_upload_url(
    job_id: int,
    request: Request,
    worker: Worker,
    state: State,
    type: UploadType,  # noqa: A002 - the API's name for it
    base_path: str = "",
) -> dict[str, Any] | Response:
    """Says how to upload the files of one folder; 500 for a job that is not the worker's."""
    try:
        folder = key_of(state.queue.paths_for(str(job_id), worker)[type], base_path)
    except (NoSuchRow, BadName):
        return crash()
    if isinstance(state.storage, ObjectStorage):
        return s3.describe_upload(state, folder, s3.storage_url_of(request))
    query = request.scope["query_string"].decode("latin-1")
    url = _url_of_request(request, f"{request.scope['path']}?{query}")
    # The real server replaces the text wherever it stands, in base_path as well.
    return _own_request(request, "post", url.replace("/url", "/upload"))


@router.post("/jobs/{job_id}/files/upload", status_code=201, response_model=None)
async def upload(
    job_id: int,
    request: Request,
    worker: Worker,
    state: State,
    type: UploadType,  # noqa: A002 - the API's name for it
    base_path: str,
) -> Response | None:
    """Takes one file. Its name is kept as it arrives; one that the disk refuses is a 500."""
    try:
        folder = key_of(state.queue.paths_for(str(job_id), worker)[type], base_path)
        reader = FormReader(boundary_of(request.headers.get("content-type", "")), request.receive)
        await _store_file(reader, state, folder)
    except (NoSuchRow, BadName):
        return crash()
    except BadForm as error:
        missing = {"type": "missing", "loc": ("body", "file"), "msg": "Field required", "input": None}
        raise RequestValidationError([missing]) from error
    except ClientGone:
        return Response(status_code=400)
    return None


async def _store_file(reader: FormReader, state: State, folder: str) -> None:
    """Stores the part that is named ``file``; raises `BadForm` without one."""
    while (part := await reader.next_part()) is not None:
        if part.name == "file" and part.filename is not None:
            break
    else:
        raise BadForm("no file")
    if part.filename in {"", ".", ".."} or "/" in part.filename:
        raise BadName(part.filename)
    key = key_of(folder, part.filename)
    temporary = await write_chunks(reader.chunks(), state.storage)
    if temporary is not None:
        state.storage.store(key, temporary)
    await reader.drain()
