"""What a container left is hostile: nothing outside the job's folder is ever listed or opened."""

import os
import resource
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.adapters import job_folder
from agent.adapters.job_folder import LocalJobFolder
from agent.core.errors import DiskTrouble, JobFailed
from agent.core.models import OutputFile


@pytest.fixture
def folder(tmp_path: Path) -> LocalJobFolder:
    folder = LocalJobFolder(tmp_path / "jobs", 12)
    folder.create()
    return folder


@pytest.fixture
def files(folder: LocalJobFolder) -> Path:
    return Path(folder.mount)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Something of the host's that no job may see."""
    (tmp_path / "outside" / "sub").mkdir(parents=True)
    secret = tmp_path / "outside" / "secret"
    secret.write_text("secret")
    return secret


def names(folder: LocalJobFolder, *root: str) -> list[str]:
    return ["/".join(file.path) for file in folder.list_outputs(root or ("out",)).files]


def skipped(folder: LocalJobFolder, *root: str) -> tuple[str, ...]:
    return folder.list_outputs(root or ("out",)).skipped


def read(folder: LocalJobFolder, path: str) -> bytes:
    with folder.open_output(OutputFile(tuple(path.split("/")), 0, 0)) as source:
        return source.read()


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@contextmanager
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_files_are_listed_in_order(folder: LocalJobFolder, files: Path):
    """Every regular file below the root, sorted, with its size and time; other folders do not matter."""
    for path in "b/z", "b/a", "a.txt", "b.txt", "empty/x/y", "-rf", "sp ace/#?%20+.h5":
        write(files / "out" / path, path)
    (files / "out" / "nothing").mkdir()
    write(files / "other")
    listing = folder.list_outputs(("out",))
    found = ["-rf", "a.txt", "b/a", "b/z", "b.txt", "empty/x/y", "sp ace/#?%20+.h5"]
    assert ["/".join(file.path[1:]) for file in listing.files] == found
    assert listing.skipped == ()
    info = (files / "out" / "b.txt").stat()
    assert OutputFile(("out", "b.txt"), 5, info.st_mtime_ns) in listing.files
    assert names(folder, "out", "b") == ["out/b/a", "out/b/z"]


@pytest.mark.parametrize("root", [("out",), ("no", "such", "place"), ("file", "below")])
def test_a_missing_root_is_an_empty_listing(folder: LocalJobFolder, files: Path, root: tuple[str, ...]):
    """A job may leave nothing; what that means is decided elsewhere."""
    write(files / "file")
    assert names(folder, *root) == []


def test_a_missing_job_folder_is_an_empty_listing(tmp_path: Path):
    """A job that never started has left nothing."""
    listing = LocalJobFolder(tmp_path, 1).list_outputs(("out",))
    assert (listing.files, listing.skipped) == ((), ())


def test_the_root_may_be_a_file(folder: LocalJobFolder, files: Path):
    """`files_up` may name a single file."""
    write(files / "log" / "run.log")
    assert names(folder, "log", "run.log") == ["log/run.log"]


def test_names_that_are_not_utf8_are_kept(folder: LocalJobFolder, files: Path):
    """Names are bytes on the disk; they come back exactly."""
    (files / "out").mkdir()
    fd = os.open(os.fsencode(files) + b"/out/\xff\n", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"bytes")
    os.close(fd)
    assert names(folder) == ["out/\udcff\n"]
    assert read(folder, "out/\udcff\n") == b"bytes"


@pytest.mark.parametrize(
    ("target", "listed"),
    [
        ("../data/real", True),
        ("/files/data/real", True),
        ("//files/./data//real", True),
        ("/files/out/../data/real", True),
        ("./hop", True),
        ("../way/real", True),
        ("/files/way/../data/real", True),
        ("../data/real/", False),
        ("../data/real/.", False),
        ("../data", False),
        (".", False),
        ("/files", False),
        ("missing", False),
        ("loop", False),
        ("../../../../etc/passwd", False),
        ("../../files/data/real", False),
        ("/etc/passwd", False),
        ("/filesystem", False),
        ("/files/../etc/passwd", False),
        ("{secret}", False),
        ("../leave/secret", False),
        ("/dev/zero", False),
        ("/proc/self/environ", False),
        ("../fifo", False),
        ("./" * 1000 + "../data/real", True),
        ("../out/" * 500 + "../data/real", False),
    ],
)
def test_links_are_followed_only_inside(
    folder: LocalJobFolder, files: Path, secret: Path, target: str, listed: bool
):
    """A link to a file inside counts as that file; one that leads out at any step is left out."""
    write(files / "data" / "real", "inside")
    (files / "out").mkdir()
    (files / "way").symlink_to("data")
    (files / "leave").symlink_to(secret.parent)
    (files / "out" / "hop").symlink_to("../way/real")
    (files / "out" / "loop").symlink_to("loop")
    os.mkfifo(files / "fifo")
    (files / "out" / "it").symlink_to(target.format(secret=secret))
    found = folder.list_outputs(("out",))
    assert [file.size_bytes for file in found.files if file.path == ("out", "it")] == ([6] if listed else [])
    assert any(line.startswith("'out/it' is a link") for line in found.skipped) is not listed
    if listed:
        assert read(folder, "out/it") == b"inside"
    else:
        with pytest.raises(JobFailed, match="output 'out/it' has become"):
            read(folder, "out/it")


def test_a_root_that_is_a_link_is_not_followed(folder: LocalJobFolder, files: Path, secret: Path):
    """Neither the root nor a folder on the way to it may be a link to a folder; a link to a file is one."""
    (files / "out").symlink_to(secret.parent)
    (files / "inside").symlink_to("real")
    write(files / "real" / "x")
    (files / "file").symlink_to("real/x")
    assert names(folder, "out") == names(folder, "out", "secret") == names(folder, "inside", "x") == []
    assert skipped(folder, "out") == ("'out' is a link that leads outside of the job's folder: left out",)
    assert skipped(folder, "out", "secret") == ("'out' is a link: left out",)
    assert skipped(folder, "inside") == ("'inside' is a link to a folder: left out",)
    assert names(folder, "file") == ["file"]


def test_what_is_no_file_is_left_out_and_named(folder: LocalJobFolder, files: Path):
    """FIFOs, sockets and devices are never opened: that could block or do something."""
    out = files / "out"
    write(out / "sub" / "good")
    os.mkfifo(out / "fifo")
    expected = ["'out/fifo' is a FIFO: left out"]
    with socket.socket(socket.AF_UNIX) as server:
        at = os.open(out, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{at}/socket")
        os.close(at)
    expected.append("'out/socket' is a socket: left out")
    if os.geteuid() == 0:
        os.mknod(out / "device", 0o600 | 0o020000, os.makedev(1, 3))
        expected.append("'out/device' is a device: left out")
    assert names(folder) == ["out/sub/good"]
    assert sorted(skipped(folder)) == sorted(expected)
    for odd in expected:
        with pytest.raises(JobFailed, match="has become"):
            read(folder, odd.split("'")[1])


def test_the_sentences_are_bounded(folder: LocalJobFolder, files: Path):
    """A thousand odd things do not make a thousand lines."""
    (files / "out").mkdir()
    for number in range(1000):
        (files / "out" / f"{number:04}").symlink_to("nowhere")
    lines = skipped(folder)
    assert len(lines) == 101
    assert lines[0] == "'out/0000' is a link that leads nowhere: left out"
    assert lines[-1] == "900 more are left out for such reasons"


def test_hard_links_are_files(folder: LocalJobFolder, files: Path):
    """Two names of one file are two outputs."""
    os.link(write(files / "out" / "a"), files / "out" / "b")
    assert names(folder) == ["out/a", "out/b"]


def test_a_file_swapped_for_something_else_is_not_opened(folder: LocalJobFolder, files: Path, secret: Path):
    """What has become a link out, a FIFO or nothing since it was listed is neither opened nor waited for."""
    path = write(files / "out" / "x")
    (listed,) = folder.list_outputs(("out",)).files
    path.unlink()
    with pytest.raises(JobFailed, match="output 'out/x' has become a link that leads nowhere"):
        folder.open_output(listed)
    path.symlink_to(secret)
    with pytest.raises(JobFailed, match="has become a link that leads outside"):
        folder.open_output(listed)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(JobFailed, match="has become a FIFO"):
        folder.open_output(listed)
    path.unlink()
    path.mkdir()
    with pytest.raises(JobFailed, match="has become a folder"):
        folder.open_output(listed)


def test_a_folder_swapped_for_a_link_is_not_entered(folder: LocalJobFolder, files: Path, secret: Path):
    """Between listing and opening a folder on the way may become a link: it is not followed."""
    write(files / "out" / "sub" / "secret", "mine")
    (listed,) = folder.list_outputs(("out",)).files
    (files / "out" / "sub").rename(files / "moved")
    for target in str(secret.parent), "/files/moved", "../moved":
        (files / "out" / "sub").symlink_to(target)
        with pytest.raises(JobFailed, match="output 'out/sub/secret' has vanished"):
            folder.open_output(listed)
        (files / "out" / "sub").unlink()


def test_swapping_while_listing_shows_nothing_of_the_outside(
    folder: LocalJobFolder, files: Path, secret: Path
):
    """A folder that turns into a link and back all the time never makes the walk leave the folder."""
    out = files / "out"
    for number in range(20):
        write(out / f"d{number}" / "mine")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for number in range(20):
                at = out / f"d{number}"
                at.rename(files / "aside")
                at.symlink_to(secret.parent)
                at.unlink()
                (files / "aside").rename(at)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(300):
            try:
                found = folder.list_outputs(("out",))
            except DiskTrouble as trouble:
                assert "changed while it was read" in str(trouble)  # noqa: PT017 - both ends are fine
                continue
            assert all(file.path[-1] == "mine" for file in found.files)
            for file in found.files[:3]:
                try:
                    with folder.open_output(file) as source:
                        assert source.read() == b"x"
                except JobFailed:
                    pass
    finally:
        done.set()
        swapper.join()


def test_great_depth_is_listed(folder: LocalJobFolder, files: Path):
    """5000 nested folders need neither recursion nor a descriptor each, and their files can be opened."""
    (files / "out").mkdir()
    fd = os.open(files / "out", os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    deep = os.open("deep", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(deep, b"deep")
    os.close(deep)
    os.close(fd)
    write(files / "out" / "e")
    with few_descriptors():
        first, second = folder.list_outputs(("out",)).files
        assert first.path == ("out", *["d"] * 5000, "deep")
        assert second.path == ("out", "e")
        with folder.open_output(first) as source:
            assert source.read() == b"deep"
    folder.remove()


def test_too_many_files_are_the_jobs_error(
    folder: LocalJobFolder, files: Path, monkeypatch: pytest.MonkeyPatch
):
    """A job cannot make the agent run out of memory; it hears why."""
    monkeypatch.setattr(job_folder, "MAX_FILES", 9)
    for number in range(10):
        write(files / "out" / str(number))
    with pytest.raises(JobFailed, match="files_up: 'out' holds more than 9 files"):
        folder.list_outputs(("out",))
    monkeypatch.setattr(job_folder, "MAX_FILES", 10)
    assert len(names(folder)) == 10


def test_locked_files_of_our_own_are_read(folder: LocalJobFolder, files: Path):
    """A job may leave files and folders of mode 0; whoever owns them can read them."""
    write(files / "out" / "locked" / "x", "mine").chmod(0)
    (files / "out" / "locked").chmod(0)
    assert names(folder) == ["out/locked/x"]
    assert read(folder, "out/locked/x") == b"mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_root_locked_folders_are_unlocked():
    """An agent that is not root lists, reads and removes what its jobs have locked."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as base:
        os.chown(base, 65534, 65534)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            pid = os.fork()  # Python 3.12 warns if other tests left threads
        if pid == 0:
            status = 1
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                folder = LocalJobFolder(Path(base), 3)
                folder.create()
                test_locked_files_of_our_own_are_read(folder, Path(folder.mount))
                Path(folder.mount, "out").chmod(0o500)
                folder.remove()
                status = 2 if any(Path(base).iterdir()) else 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_hundreds_of_thousands_of_files_are_no_problem(folder: LocalJobFolder, files: Path):
    """Many files in one folder are listed and removed."""
    out = files / "out"
    out.mkdir()
    at = os.open(out, os.O_RDONLY)
    first = os.open("0", os.O_WRONLY | os.O_CREAT, dir_fd=at)
    os.close(first)
    for number in range(1, 50_000):
        os.link("0", f"{number}", src_dir_fd=at, dst_dir_fd=at)
    os.close(at)
    assert len(folder.list_outputs(("out",)).files) == 50_000
    folder.remove()
    assert not files.exists()
