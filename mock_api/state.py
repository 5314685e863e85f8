"""Everything the stand-in knows, in one place: what the routes change and the tests look at."""

import posixpath
import secrets
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mock_api.accounts import DEFAULT_ACCOUNTS, Account, Accounts
from mock_api.faults import Faults
from mock_api.jobs import JobQueue
from mock_api.requestlog import RequestLog
from mock_api.settings import Settings
from mock_api.specs import Submission, UploadType
from mock_api.storage import BadName, LocalStorage, ObjectStorage, StoredFile, key_of, put_bytes


@dataclass(frozen=True, slots=True)
class Output:
    """One uploaded file. ``path`` is relative to the job's folder: ``output/sub/result.csv``."""

    kind: UploadType
    path: str
    size_bytes: int


class MockState:
    """The accounts, the queue, the files, the faults and the log, behind one lock.

    All methods, and those of the parts, may be called from any thread while the server runs.

    Args:
        root: An empty folder for the files; who made it removes it.
        settings: The knobs; the state keeps and shares this object.
        accounts: Who may log in.
    """

    def __init__(
        self, root: Path, settings: Settings | None = None, accounts: Iterable[Account] = DEFAULT_ACCOUNTS
    ) -> None:
        self.settings = settings or Settings()
        lock = threading.RLock()
        self.accounts = Accounts(self.settings, lock, accounts)
        self.queue = JobQueue(self.settings, lock)
        self.faults = Faults(lock)
        self.log = RequestLog(lock)
        self.user_folder = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
        self.url_key = secrets.token_bytes(32)
        self.storage: LocalStorage | ObjectStorage
        if self.settings.storage == "local":
            self.storage = LocalStorage(root, self.settings.data_root)
        else:
            self.storage = ObjectStorage(root, self.settings.data_root, self.settings.bucket)

    def put_file(self, name: str, content: bytes | Path) -> str:
        """Stores a user's file (bytes, or a copy of a file on this machine); returns its file id."""
        key = self.key_of_user_file(name)
        put_bytes(self.storage, key, content)
        return self.storage.file_id(key)

    def key_of_user_file(self, name: str) -> str:
        """Where a user's file of that name lies; raises `BadName`."""
        return key_of(self.user_folder, name)

    def submit(self, submission: Submission, files: Mapping[str, bytes | Path] | None = None) -> str:
        """Queues a job and stores its inputs.

        Args:
            submission: The job.
            files: Inputs by their path in the job's folder, added to the submission's ``files_down``.

        Returns:
            The queue's id of the job, the key of every later call.
        """
        number = self.queue.reserve_id()
        name = submission.name or f"job{number}"
        stored = {
            local: self.put_file(_name_in_storage(local, name, at), content)
            for at, (local, content) in enumerate((files or {}).items())
        }
        submission = submission.model_copy(update={"files_down": submission.files_down | stored})
        created = datetime.fromtimestamp(self.settings.now(), UTC).replace(tzinfo=None).isoformat()
        job_id = submission.queue_id or str(number)
        paths = {str(kind): key_of(self.user_folder, kind, name) for kind in UploadType}
        self.queue.add(job_id, submission, submission.build_spec(number, created), paths)
        return job_id

    def outputs(self, job_id: str) -> list[Output]:
        """What was uploaded for a job, sorted by kind and path."""
        job = self.queue.get(job_id)
        if job is None:
            return []
        found = []
        for kind in UploadType:
            for path in self.storage.keys_below(job.paths_upload[kind]):
                stored = self.output_file(job_id, kind, path)
                found += [Output(kind, path, stored.size_bytes)] if stored else []
        return found

    def output_file(self, job_id: str, kind: UploadType, path: str) -> StoredFile | None:
        """One uploaded file."""
        job = self.queue.get(job_id)
        if job is None:
            return None
        try:
            return self.storage.find(key_of(job.paths_upload[kind], path))
        except BadName:
            return None


def _name_in_storage(local: str, job_name: str, at: int) -> str:
    """``data/a.csv`` of the job ``x`` lies at ``data/x/a.csv``; a hostile path gets a harmless place."""
    first, _, rest = local.partition("/")
    tame = rest and posixpath.normpath(local) == local and not local.startswith((".", "/"))
    return f"{first}/{job_name}/{rest}" if tame and "\0" not in local else f"inputs/{job_name}/{at}"
