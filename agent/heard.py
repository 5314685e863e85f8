"""The API as the whole agent hears it: who asks notes whether a good answer came."""

from collections.abc import Callable
from time import monotonic, time
from typing import Any, TypeVar

from agent.core.errors import AccountTrouble, ApiTrouble, JobFailed, JobGone
from agent.core.models import FileRequest, Offer, UploadKind, Word
from agent.core.status import Trouble
from agent.ports import JobApi

T = TypeVar("T")

QUIET_S = 120.0
"""The API may fail for so long before that is called trouble: a blip of the network is none."""


class HeardApi:
    """Fulfils `ports.JobApi` by another one; any thread may call and ask."""

    def __init__(self, api: JobApi) -> None:
        self._api = api
        self.heard_at: float | None = None
        self._failing: Trouble | None = None
        self._failing_at = 0.0  # monotonic: the time of day may jump
        self._is_refused = False

    def trouble(self) -> Trouble | None:
        """Why the API is in the way, if it is: the account is refused, or no answer came for a while."""
        failing = self._failing
        if failing is None or not (self._is_refused or monotonic() - self._failing_at > QUIET_S):
            return None
        return failing

    def claim(self, offer: Offer, limit: int) -> dict[str, Any]:
        """GET /jobs."""
        return self._hear(lambda: self._api.claim(offer, limit))

    def say(self, job_id: int, word: Word, details: str = "") -> None:
        """PUT the job's status."""
        self._hear(lambda: self._api.say(job_id, word, details))

    def status(self, job_id: int) -> Word:
        """GET the job's status."""
        return self._hear(lambda: self._api.status(job_id))

    def download_request(self, file_id: str) -> FileRequest:
        """Where and how to get a file."""
        return self._hear(lambda: self._api.download_request(file_id))

    def upload_request(self, job_id: int, kind: UploadKind, base_path: str) -> FileRequest:
        """Where and how to put a file."""
        return self._hear(lambda: self._api.upload_request(job_id, kind, base_path))

    def _hear(self, ask: Callable[[], T]) -> T:
        try:
            answer = ask()
        except AccountTrouble as trouble:
            self._note_failure(str(trouble), is_refused=True)
            raise
        except ApiTrouble as trouble:
            self._note_failure(f"no good answer from the API: {trouble}", is_refused=False)
            raise
        except (JobGone, JobFailed):  # bad news is an answer
            self._note_answer()
            raise
        self._note_answer()
        return answer

    def _note_answer(self) -> None:
        self.heard_at = time()
        self._failing = None

    def _note_failure(self, text: str, *, is_refused: bool) -> None:
        failing = self._failing
        self._is_refused = is_refused
        self._failing_at = self._failing_at if failing else monotonic()
        self._failing = Trouble(text, failing.since if failing else time())
