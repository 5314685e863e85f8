"""The user's side over HTTP: what the commands do with a running stand-in."""

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

_TIMEOUT_S = (5, 300)
_CHUNK_BYTES = 1024**2
_LOOK_S = 0.2


class ApiError(Exception):
    """The stand-in cannot be reached, or refuses; the message is one line for a person."""


class UserClient:
    """A user of the stand-in at ``base_url``. Every method raises `ApiError`."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._session = requests.Session()

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def put_file(self, path: Path) -> str:
        """Uploads a file; returns its id for a job's ``files_down``."""
        name = f"inputs/{secrets.token_hex(8)}/{path.name}"
        with path.open("rb") as file:
            answer = self._call(
                "PUT", f"/files/{quote(name)}", data=file if os.fstat(file.fileno()).st_size else b""
            )
        return str(answer.json()["id"])

    def submit(self, submission: dict[str, Any]) -> str:
        """Queues a job (fields of `mock_api.specs.Submission`); returns its id."""
        return str(self._call("POST", "/jobs", json=submission).json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """A job with its history (fields of `mock_api.job.Job`)."""
        job: dict[str, Any] = self._call("GET", f"/jobs/{quote(job_id)}").json()
        return job

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, oldest first."""
        jobs: list[dict[str, Any]] = self._call("GET", "/jobs").json()
        return jobs

    def cancel(self, job_id: str) -> None:
        """Deletes a job."""
        self._call("DELETE", f"/jobs/{quote(job_id)}")

    def watch(self, job_id: str, timeout_s: float | None) -> Iterator[dict[str, Any]]:
        """Yields the job whenever its history has grown; ends when it is over, or after ``timeout_s``."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        seen = (-1, False)
        while True:
            job = self.job(job_id)
            now = (len(job["history"]), job["deleted"])
            if now != seen:
                yield job
            is_late = end is not None and time.monotonic() > end
            if job["deleted"] or job["status"] in {"finished", "error"} or is_late:
                return
            seen = now
            time.sleep(_LOOK_S)

    def fetch_outputs(self, job_id: str, folder: Path) -> list[Path]:
        """Downloads everything that was uploaded for a job; returns the files written, below ``folder``."""
        written = []
        for output in self._call("GET", f"/jobs/{quote(job_id)}/outputs").json():
            path = folder / output["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            address = f"/jobs/{quote(job_id)}/outputs/{output['kind']}/{quote(output['path'])}"
            with self._call("GET", address, stream=True) as answer, path.open("wb") as file:
                for chunk in answer.iter_content(_CHUNK_BYTES):
                    file.write(chunk)
            written.append(path)
        return written

    def _call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        url = f"{self._base_url}/mock{path}"
        try:
            answer = self._session.request(method, url, timeout=_TIMEOUT_S, **arguments)
        except requests.RequestException as error:
            raise ApiError(f"no answer from {self._base_url}: {_reason_of(error)}") from error
        if not answer.ok:
            raise ApiError(f"{method} {url}: {answer.status_code} {answer.text[:300].strip()}")
        return answer


def _reason_of(error: BaseException) -> str:
    """The innermost cause in few words: requests wraps the system's words three times."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
