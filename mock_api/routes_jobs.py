"""``/jobs``: claiming, keeping alive, ending."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from fastapi.responses import PlainTextResponse

from mock_api.job import Offer
from mock_api.jobs import MalformedRow, NoSuchRow, NotYours
from mock_api.security import State, Worker
from mock_api.specs import JobState

router = APIRouter()


def crash() -> Response:
    """What the real server answers where it did not expect what it met."""
    return PlainTextResponse("Internal Server Error", 500)


async def _read_offer(
    memory: int,
    cpu_cores: int = 1,
    gpu_mem: int = 0,
    gpu_model: str | None = None,
    gpu_archi: str | None = None,
    groups: Annotated[list[str] | None, Query()] = None,
    limit: int = 1,
    older_than: int = 0,
) -> Offer:
    """The query of ``GET /jobs``; FastAPI ignores names that it does not know."""
    return Offer(memory, cpu_cores, gpu_mem, gpu_model, gpu_archi, tuple(groups or ()), limit, older_than)


@router.get("/jobs")
async def claim_jobs(
    worker: Worker, state: State, offer: Annotated[Offer, Depends(_read_offer)]
) -> dict[str, Any]:
    """Hands out jobs: a dequeue."""
    try:
        return state.queue.claim(worker, offer)
    except MalformedRow as error:
        raise HTTPException(500, str(error)) from error


@router.get("/jobs/{job_id}/status")
async def get_status(job_id: int, _worker: Worker, state: State) -> JobState:
    """What the queue says; 404 once the row has gone."""
    status = state.queue.status_of(str(job_id))
    if status is None:
        raise HTTPException(404, "Not Found")
    return status


@router.put("/jobs/{job_id}/status", status_code=204)
async def put_status(
    job_id: int, worker: Worker, state: State, status: JobState, runtime_details: str | None = None
) -> Response:
    """Takes any word after any other from the job's owner; 404 for who is not, 500 where no row is."""
    try:
        state.queue.put_status(str(job_id), worker, status, runtime_details)
    except NotYours as error:
        raise HTTPException(404, "Not Found") from error
    except NoSuchRow:
        return crash()
    return Response(status_code=204, media_type="application/json")
