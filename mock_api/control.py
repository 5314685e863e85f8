"""``/mock/…``: the user's side of the jobs, and the strings behind the scenes. No token needed."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict

from mock_api.bodies import write_chunks
from mock_api.faults import Fault
from mock_api.job import Job
from mock_api.security import State
from mock_api.specs import Submission, UploadType
from mock_api.state import MockState
from mock_api.storage import BadName

router = APIRouter(prefix="/mock")


class SettingsChange(BaseModel):
    """The settings that may change while the server runs; None leaves one as it is."""

    model_config = ConfigDict(extra="forbid")

    job_timeout_s: float | None = None
    max_retries: int | None = None
    retry_different: bool | None = None
    token_life_s: float | None = None
    url_life_s: float | None = None
    s3_max_post_bytes: int | None = None
    clock_offset_s: float | None = None


def _job_of(state: MockState, job_id: str) -> Job:
    job = state.queue.get(job_id)
    if job is None:
        raise HTTPException(404, f"no job {job_id}")
    return job


@router.post("/jobs", status_code=201)
async def submit_job(submission: Submission, state: State) -> dict[str, str]:
    """Queues a job; see `Submission`."""
    return {"id": state.submit(submission)}


@router.get("/jobs")
async def list_jobs(state: State) -> list[dict[str, Any]]:
    """All jobs, oldest first."""
    return [dataclasses.asdict(job) for job in state.queue.jobs()]


@router.get("/jobs/{job_id}")
async def get_job(job_id: str, state: State) -> dict[str, Any]:
    """One job with its complete history."""
    return dataclasses.asdict(_job_of(state, job_id))


@router.delete("/jobs/{job_id}", status_code=204)
async def cancel_job(job_id: str, state: State) -> Response:
    """The user deletes a job."""
    _job_of(state, job_id)
    state.queue.cancel(job_id)
    return Response(status_code=204)


@router.get("/jobs/{job_id}/outputs")
async def list_outputs(job_id: str, state: State) -> list[dict[str, Any]]:
    """What was uploaded for a job."""
    _job_of(state, job_id)
    return [dataclasses.asdict(output) for output in state.outputs(job_id)]


@router.get("/jobs/{job_id}/outputs/{kind}/{path:path}", response_class=FileResponse)
async def get_output(job_id: str, kind: UploadType, path: str, state: State) -> FileResponse:
    """One uploaded file."""
    stored = state.output_file(job_id, kind, path)
    if stored is None:
        raise HTTPException(404, f"no {kind} {path} of job {job_id}")
    return FileResponse(stored.path)


@router.put("/files/{name:path}", status_code=201)
async def put_file(name: str, request: Request, state: State) -> dict[str, str]:
    """Stores the request's body as a user's file; answers its id."""
    try:
        key = state.key_of_user_file(name)
        temporary = await write_chunks(request.stream(), state.storage)
        state.storage.store(key, temporary or Path())
    except BadName as error:
        raise HTTPException(422, f"not a name to store a file under: {name}") from error
    return {"id": state.storage.file_id(key)}


@router.get("/requests")
async def list_requests(state: State, path: str = "") -> list[dict[str, Any]]:
    """The request log; ``path`` is a regular expression searched in the raw path."""
    entries = state.log.entries()
    return [dataclasses.asdict(entry) for entry in entries if re.search(path, entry.path)]


@router.delete("/requests", status_code=204)
async def clear_requests(state: State) -> Response:
    """Empties the request log."""
    state.log.clear()
    return Response(status_code=204)


@router.post("/faults", status_code=201)
async def add_fault(fault: Fault, state: State) -> dict[str, str]:
    """Adds a fault rule; see `Fault`."""
    return {"name": state.faults.add(fault)}


@router.get("/faults")
async def list_faults(state: State) -> list[dict[str, Any]]:
    """The rules and how often each struck."""
    counts = state.faults.counts()
    return [{"name": it.name, "struck": it.struck, "fault": it.fault.model_dump()} for it in counts]


@router.delete("/faults", status_code=204)
async def clear_faults(state: State) -> Response:
    """Removes all rules."""
    state.faults.clear()
    return Response(status_code=204)


@router.delete("/faults/{name}", status_code=204)
async def remove_fault(name: str, state: State) -> Response:
    """Removes one rule."""
    state.faults.remove(name)
    return Response(status_code=204)


@router.get("/settings")
async def get_settings(state: State) -> dict[str, Any]:
    """All settings."""
    return dataclasses.asdict(state.settings)


@router.patch("/settings")
async def change_settings(change: SettingsChange, state: State) -> dict[str, Any]:
    """Changes some settings; answers all."""
    for name, value in change.model_dump(exclude_none=True).items():
        setattr(state.settings, name, value)
    return dataclasses.asdict(state.settings)


@router.post("/tokens/expire", status_code=204)
async def expire_tokens(state: State) -> Response:
    """Ends the life of every ID token given out so far."""
    state.accounts.expire_tokens()
    return Response(status_code=204)


@router.get("/tokens/{username}")
async def get_token(username: str, state: State, life_s: float | None = None) -> dict[str, str]:
    """A fresh ID token of an account, without a password."""
    if state.accounts.find(username) is None:
        raise HTTPException(404, f"no account {username}")
    return {"token": state.accounts.issue_token(username, life_s=life_s)}


@router.get("/mails")
async def list_mails(state: State) -> list[dict[str, Any]]:
    """The e-mails that the user got."""
    return [dataclasses.asdict(mail) for mail in state.queue.mails()]
