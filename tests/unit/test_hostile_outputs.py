"""Any bytes as names of outputs, any odd thing among them: what is a file arrives, what is not is named."""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.adapters.job_folder import LocalJobFolder
from agent.adapters.tokens import StaticToken
from agent.adapters.transfer import HttpTransfer
from agent.adapters.worker_api import WorkerApi
from agent.core.models import Job, Offer
from agent.steps import Means, fetch_jobs, stage_inputs, stage_outputs
from mock_api.server import RunningMock
from mock_api.settings import Settings
from tests.hostile import Yard, tries

ODD = [
    b"-rf",
    b"~",
    b"a\nb",
    b"\x1b[31m",
    b"\xff\xfe",
    b"caf\xe9.txt",
    b"caf%E9.txt",
    b'"',
    b"a\\b",
    b" ",
    b"...",
    b"*",
]
LONG = [b"x" * 255, b"\xc3\xa9" * 127, b"\xff" * 255, b"y" * 250 + b".h5"]
OURS = [
    b"container.log",
    b"files",
    b"parts",
    b"agent.db",
    b"data",
    b"in.csv",
    b"output",
    b"${filename}",
    b"%00",
    b"url",
]
NAMES = (
    st.sampled_from([b"a", b"b", b"a~2", *ODD, *LONG, *OURS])
    | st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"/", b"|").replace(b"\0", b"0"))
).filter(lambda name: name not in (b".", b".."))
UP = b"../" * 20
TARGETS = st.sampled_from(
    [
        *(b"CANARY/x", b"CANARY", b"../../../../../canary/x", b"/", UP + b"etc/passwd", b"/etc/passwd"),
        *(b"..", b".", b"/files", b"/files/output/a", b"a", b"b/a", b"loop", b"x" * 1000, b"../data/in.csv"),
        b"/proc/self/environ",
    ]
)


@dataclass(frozen=True)
class Entry:
    """Something that the container left: how deep below the output folder, what, and where a link leads."""

    kind: str
    folders: tuple[bytes, ...]
    name: bytes
    target: bytes = b""

    def make(self, root: Path, canary: Path) -> None:
        """Leave it, unless something is in its place."""
        folder = root.joinpath(*map(os.fsdecode, self.folders))
        path = folder / os.fsdecode(self.name)
        with suppress(OSError):
            if folder.resolve().is_relative_to(root):  # the container sees nothing else
                folder.mkdir(parents=True, exist_ok=True)
                self._make_at(path, canary)

    def _make_at(self, path: Path, canary: Path) -> None:
        match self.kind:
            case "file":
                with path.open("xb") as file:
                    file.write(b"of the job: " + self.name)
            case "folder" | "locked":
                path.mkdir(0o000 if self.kind == "locked" else 0o755)
            case "link":
                path.symlink_to(os.fsdecode(self.target.replace(b"CANARY", os.fsencode(canary))))
            case "fifo":
                os.mkfifo(path)
            case "socket":
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.bind(str(path))
            case "hole":
                with path.open("xb") as file:
                    file.truncate(1 << 16)


ENTRIES = st.builds(
    Entry,
    st.sampled_from(["file", "file", "link", "link", "folder", "fifo", "socket", "locked", "hole"]),
    st.lists(NAMES, max_size=3).map(tuple),
    NAMES,
    TARGETS,
)


@pytest.fixture(scope="module", params=["local", "s3"])
def mock(request: pytest.FixtureRequest) -> Iterator[RunningMock]:
    """One for all examples."""
    with RunningMock(Settings(storage=request.param)) as mock:
        yield mock


@pytest.fixture(scope="module")
def means(mock: RunningMock) -> Iterator[Means]:
    """The real client and the real transfer."""
    token = mock.token()
    with WorkerApi(mock.url, StaticToken(token)) as api, HttpTransfer() as transfer:
        yield Means(api, transfer)


def claimed(mock: RunningMock, means: Means, **submission: Any) -> Job:
    """A job of its own for each example."""
    mock.submit(image="demo:1", **submission)
    (job,) = fetch_jobs(means.api, Offer(4096, 4))
    assert isinstance(job, Job)
    return job


def files_below(root: Path) -> Counter[bytes]:
    """The contents of all regular files."""
    found = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)
    return Counter(path.read_bytes() for path in found if not path.is_symlink() and path.is_file())


@tries(30)
@given(st.lists(ENTRIES, max_size=6))
@example([Entry("file", (), name) for name in (*ODD, *LONG, *OURS)])
@example([Entry("file", (b"\xff",) * 3, name) for name in ODD])
@example([Entry("file", (LONG[0],) * 8, b"deep")])
@example([Entry("link", (), b"long", b"x" * 1000), Entry("file", (), b"a")])
@example(
    [Entry("link", (), b"loop", b"loop"), Entry("link", (), b"out", b"CANARY/x"), Entry("file", (), b"a")]
)
@example(
    [Entry("fifo", (), b"f"), Entry("socket", (), b"s"), Entry("locked", (), b"l"), Entry("hole", (), b"h")]
)
def test_any_names_as_outputs(mock: RunningMock, means: Means, entries: list[Entry]) -> None:
    """Every regular file arrives, nothing of the outside; then the folder is gone, the rest as it was."""
    job = claimed(mock, means, files={"data/in.csv": b"input"}, files_up={"output": "output"})
    with Yard() as yard:
        folder = LocalJobFolder(yard.state / "jobs", job.id)
        stage_inputs(job, folder, means)
        folder.make(("output",))
        root = Path(folder.mount, "output")
        for entry in entries:
            entry.make(root, yard.canary)
        wanted = files_below(root)
        staged = stage_outputs(job, folder, means)
        arrived = Counter(mock.output(str(job.id), one.path) for one in mock.outputs(str(job.id)))
        assert staged.failed == ()
        assert staged.uploaded == arrived.total()
        assert all(sentence.isprintable() for sentence in staged.skipped)
        assert not wanted - arrived
        assert all(content.startswith((b"of the job", b"\0", b"input")) for content in arrived - wanted)
        folder.remove()
        assert not list((yard.state / "jobs").iterdir())
        assert yard.is_untouched()
