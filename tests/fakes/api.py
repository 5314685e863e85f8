"""The worker-facing API and its storage in memory, for one account; what it was told outlives the agent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from agent.core.errors import ApiTrouble, JobFailed, JobGone
from agent.core.models import FileRequest, Offer, UploadKind, Word
from agent.core.stopping import Stop
from agent.ports import PartFile

_VERDICTS = {Word.FINISHED, Word.ERROR}


@dataclass
class FakeApi:
    """Fulfils `ports.JobApi`; `said` is every accepted PUT in order, `refused` every one after a 404.

    `deletes_on`: the user deletes a job just before this word of it arrives.
    """

    queue: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    states: dict[int, Word] = field(default_factory=dict)
    said: list[tuple[int, Word, str]] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)
    refused: list[tuple[int, Word]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    deletes_on: Word | None = None

    def claim(self, offer: Offer, limit: int) -> dict[str, Any]:
        """Dequeue; whoever loses the answer has lost the job until `time_out`."""
        del offer
        taken = dict(list(self.queue.items())[:limit])
        for key in taken:
            if key.isdigit():
                self.states[int(key)] = Word.PULLED
        return {key: self.queue.pop(key) for key in taken}

    def say(self, job_id: int, word: Word, details: str = "") -> None:
        """No transition is refused, as on the real API."""
        if word is self.deletes_on:
            self.deleted.add(job_id)
        if job_id in self.deleted:
            self.refused.append((job_id, word))
            raise JobGone(f"job {job_id}: 404")
        if job_id not in self.states:
            raise ApiTrouble(f"job {job_id}: 500", status=500)
        self.states[job_id] = word
        self.said.append((job_id, word, details))

    def status(self, job_id: int) -> Word:
        """The last word."""
        if job_id in self.deleted:
            raise JobGone(f"job {job_id}: 404")
        return self.states[job_id]

    def download_request(self, file_id: str) -> FileRequest:
        """The file's id serves as its URL."""
        if file_id not in self.files:
            raise JobFailed(f"{file_id!r} is missing")
        return FileRequest(method="get", url=file_id)

    def upload_request(self, job_id: int, kind: UploadKind, base_path: str) -> FileRequest:
        """Kind and folder serve as the URL."""
        if job_id in self.deleted:
            raise ApiTrouble("500", status=500)
        return FileRequest(method="post", url=f"{job_id}/{kind}/{base_path}")

    def verdicts(self, job_id: int) -> list[tuple[Word, str]]:
        """Every verdict that the user would have got an e-mail about."""
        return [(word, details) for one, word, details in self.said if one == job_id and word in _VERDICTS]


@dataclass
class FakeTransfer:
    """Fulfils `ports.Transfer` against the memory of a `FakeApi`."""

    api: FakeApi

    def download(
        self, request: FileRequest, part: PartFile, *, stop: Stop, advance: Callable[[int], None]
    ) -> None:
        """In two pieces, so that there is a middle."""
        stop.check()
        content = self.api.files[request.url]
        half = len(content) // 2
        part.restart('"etag"')
        for piece in (content[:half], content[half:]):
            part.write(piece)
            advance(len(piece))
        part.finish()

    def upload(
        self,
        request: FileRequest,
        source: BinaryIO,
        *,
        name: str,
        size_bytes: int,
        stop: Stop,
        advance: Callable[[int], None],
    ) -> None:
        """Under the folder of the request."""
        stop.check()
        content = source.read()
        if len(content) != size_bytes:
            raise JobFailed(f"{name} changed its size")
        self.api.uploads[f"{request.url}/{name}"] = content
        advance(size_bytes)
