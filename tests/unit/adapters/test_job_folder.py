"""The job's folder, inputs and life: private to the agent, open to the container's user, gone in the end."""

import json
import os
import stat
from pathlib import Path

import pytest

from agent.adapters.job_folder import LocalJobFolder
from agent.core.errors import DiskTrouble, JobFailed

ETAG = '"v1"'


@pytest.fixture
def folder(tmp_path: Path) -> LocalJobFolder:
    folder = LocalJobFolder(tmp_path / "jobs", 12)
    folder.create()
    return folder


def top_of(folder: LocalJobFolder) -> Path:
    return Path(folder.mount).parent


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def note_of(folder: LocalJobFolder) -> Path:
    (note,) = top_of(folder).glob("parts/*.json")
    return note


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_the_folder_is_private_and_its_inside_is_open(tmp_path: Path, umask: int):
    """Images that do not run as root can write to /files; nobody else on the machine gets there."""
    folder = LocalJobFolder(tmp_path / "a" / "jobs", 7)
    before = os.umask(umask)
    try:
        folder.create()
        folder.create()
        folder.make(("out", "deep"))
        folder.make(("out", "deep"))
        with folder.part(("data", "x")) as part:
            part.restart("")
            part.write(b"1")
            part.finish()
    finally:
        os.umask(before)
    files = Path(folder.mount)
    assert folder.mount == str(tmp_path / "a" / "jobs" / "7" / "files")
    assert mode_of(files.parent) == mode_of(files.parent / "parts") == 0o700
    assert {
        mode_of(files),
        mode_of(files / "out"),
        mode_of(files / "out" / "deep"),
        mode_of(files / "data"),
    } == {0o777}
    assert mode_of(files / "data" / "x") == 0o666
    assert folder.log.parent == files.parent


def test_an_input_appears_only_when_it_is_complete(folder: LocalJobFolder):
    """Until `finish` nothing lies at the final place; afterwards nothing else is left."""
    path = ("data", "x.csv")
    with folder.part(path) as part:
        part.restart(ETAG)
        part.write(b"ab")
        part.write(memoryview(b"cd"))
        assert not folder.has(path)
        part.finish()
    assert folder.has(path)
    assert Path(folder.mount, *path).read_bytes() == b"abcd"
    assert list((top_of(folder) / "parts").iterdir()) == []


def test_a_download_goes_on_where_it_stopped(folder: LocalJobFolder):
    """What an earlier attempt got is there with the validator it belongs to."""
    with folder.part(("x",)) as part:
        assert (part.size_bytes, part.validator) == (0, "")
        part.restart(ETAG)
        part.write(b"abc")
        assert (part.size_bytes, part.validator) == (3, ETAG)
    with folder.part(("x",)) as part:
        assert (part.size_bytes, part.validator) == (3, ETAG)
        part.write(b"d")
        part.finish()
    assert Path(folder.mount, "x").read_bytes() == b"abcd"


def test_a_download_goes_on_after_the_agent_was_killed(folder: LocalJobFolder):
    """Within one boot the page cache keeps what was written, whether the part was closed or not."""
    part = folder.part(("x",))
    part.restart(ETAG)
    part.write(b"abc")
    part.close()
    with folder.part(("x",)) as part:
        assert (part.size_bytes, part.validator) == (3, ETAG)


def test_restart_throws_away_what_was_there(folder: LocalJobFolder):
    """New bytes never meet the old validator or the old bytes the new one."""
    with folder.part(("x",)) as part:
        part.restart(ETAG)
        part.write(b"old bytes")
    with folder.part(("x",)) as part:
        part.restart('"v2"')
        assert (part.size_bytes, part.validator) == (0, '"v2"')
        part.write(b"new")
    with folder.part(("x",)) as part:
        assert (part.size_bytes, part.validator) == (3, '"v2"')
        part.finish()
    assert Path(folder.mount, "x").read_bytes() == b"new"


def test_bytes_without_validator_are_not_kept(folder: LocalJobFolder):
    """A content without ETag cannot be resumed."""
    with folder.part(("x",)) as part:
        part.restart("")
        part.write(b"abc")
    with folder.part(("x",)) as part:
        assert (part.size_bytes, part.validator) == (0, "")


@pytest.mark.parametrize(
    "note",
    [b"", b"{", b"[]", b'"x"', b"\xff", b"{}", b'{"validator": 1, "boot": "", "flushed": 1}', None],
)
def test_an_unreadable_note_starts_anew(folder: LocalJobFolder, note: bytes | None):
    """Bytes that nobody can vouch for are thrown away."""
    with folder.part(("x",)) as part:
        part.restart(ETAG)
        part.write(b"abc")
    if note is None:
        note_of(folder).unlink()
    else:
        note_of(folder).write_bytes(note)
    with folder.part(("x",)) as part:
        assert (part.size_bytes, part.validator) == (0, "")


def test_after_a_reboot_only_flushed_bytes_count(folder: LocalJobFolder):
    """A file system may come back from a power cut with the right size and zeros in it."""
    with folder.part(("x",)) as part:
        part.restart(ETAG)
        part.write(b"abc")
    with folder.part(("x",)) as part:
        part.write(b"def")
        part.close()
    note = json.loads(note_of(folder).read_text())
    note_of(folder).write_text(json.dumps(note | {"boot": "another one"}))
    with folder.part(("x",)) as part:
        assert (part.size_bytes, part.validator) == (3, ETAG)
        part.write(b"D")
        part.finish()
    assert Path(folder.mount, "x").read_bytes() == b"abcD"


def test_inputs_do_not_share_their_parts(folder: LocalJobFolder):
    """`a/b` and `a_b`, and names of any length, have each a part of their own."""
    paths = [("a", "b"), ("a_b",), ("x" * 255,), ("ü☃",)]
    for number, path in enumerate(paths):
        with folder.part(path) as part:
            part.restart(ETAG)
            part.write(b"." * (number + 1))
    for number, path in enumerate(paths):
        with folder.part(path) as part:
            assert part.size_bytes == number + 1
            part.finish()
        assert folder.has(path)


def test_big_writes_are_written_back_on_the_way(folder: LocalJobFolder):
    """Many megabytes arrive whole, whatever the pieces are."""
    with folder.part(("x",)) as part:
        part.restart(ETAG)
        for number in range(40):
            part.write(bytes([number]) * (1 << 20))
        part.finish()
    data = Path(folder.mount, "x").read_bytes()
    assert data == b"".join(bytes([number]) * (1 << 20) for number in range(40))


@pytest.mark.parametrize("planted", ["link", "file"])
def test_nothing_is_written_through_a_planted_link(folder: LocalJobFolder, tmp_path: Path, planted: str):
    """A link or file where a folder has to be is the job's error, and nothing lands outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    way = Path(folder.mount, "data")
    way.symlink_to(outside) if planted == "link" else way.write_text("")
    with folder.part(("data", "x")) as part:
        part.restart(ETAG)
        part.write(b"abc")
        with pytest.raises(JobFailed, match="files_down: 'data/x': something else"):
            part.finish()
    with pytest.raises(JobFailed, match="files_up: 'data/out': something else"):
        folder.make(("data", "out"))
    assert list(outside.iterdir()) == []
    assert not folder.has(("data", "x"))


def test_a_planted_link_at_the_final_place_is_replaced(folder: LocalJobFolder, tmp_path: Path):
    """The link itself gives way; what it points to stays untouched and does not count as complete."""
    target = tmp_path / "target"
    target.write_text("precious")
    Path(folder.mount, "x").symlink_to(target)
    assert not folder.has(("x",))
    with folder.part(("x",)) as part:
        part.restart(ETAG)
        part.write(b"abc")
        part.finish()
    assert target.read_text() == "precious"
    assert Path(folder.mount, "x").read_bytes() == b"abc"
    assert folder.has(("x",))


def test_a_folder_at_the_final_place_is_the_jobs_error(folder: LocalJobFolder):
    """A file cannot replace a folder; waiting would not help."""
    folder.make(("x",))
    assert not folder.has(("x",))
    with folder.part(("x",)) as part, pytest.raises(JobFailed, match="something else is in its place"):
        part.finish()


def test_a_full_disk_is_trouble_of_the_host():
    """No space: the path, and what to do."""
    folder = LocalJobFolder(Path("/dev/shm"), 2**40 + os.getpid())
    folder.create()
    try:
        with folder.part(("big",)) as part:
            os.dup2(full := os.open("/dev/full", os.O_WRONLY), part._fd)
            os.close(full)
            with pytest.raises(DiskTrouble, match=r"^'big': no space left on the disk: free some"):
                part.write(b"x")
    finally:
        folder.remove()


def test_a_base_that_is_no_folder_is_trouble_of_the_host(tmp_path: Path):
    """A wrong PATH_HOST_BASE is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskTrouble, match=str(tmp_path / "file")):
        LocalJobFolder(tmp_path / "file", 1).create()


def test_removing_is_harmless_when_there_is_nothing(tmp_path: Path):
    """Neither the folder nor its base need to be there."""
    LocalJobFolder(tmp_path, 1).remove()
    LocalJobFolder(tmp_path / "nowhere", 1).remove()


def test_removing_takes_all_and_follows_nothing(folder: LocalJobFolder, tmp_path: Path):
    """Links go, what they point to stays; locked folders and odd files are no problem."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("here")
    other = LocalJobFolder(tmp_path / "jobs", 13)
    other.create()
    files = Path(folder.mount)
    (files / "link").symlink_to(outside)
    (files / "up").symlink_to("..")
    os.mkfifo(files / "fifo")
    (files / "\udcff\udcfe" / "-rf").mkdir(parents=True)
    locked = files / "locked"
    (locked / "in").mkdir(parents=True)
    (locked / "in" / "x").write_text("")
    (locked / "in").chmod(0o500)
    locked.chmod(0)
    folder.log.write_text("log")
    folder.remove()
    assert not top_of(folder).exists()
    assert (outside / "precious").read_text() == "here"
    assert top_of(other).exists()
    folder.remove()


def test_removing_does_not_follow_a_planted_job_folder(tmp_path: Path):
    """Even the job's own folder is not followed if it is a link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("here")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "5").symlink_to(outside)
    LocalJobFolder(tmp_path / "jobs", 5).remove()
    assert not (tmp_path / "jobs" / "5").is_symlink()
    assert (outside / "precious").exists()


def deepen(top: Path, levels: int, name: str = "d") -> int:
    """Nest folders far deeper than a path can say; returns a descriptor of the last one."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


def test_removing_copes_with_great_depth(folder: LocalJobFolder):
    """5000 nested folders need neither recursion nor 5000 descriptors."""
    os.close(deepen(Path(folder.mount), 5000))
    folder.remove()
    assert not top_of(folder).exists()


def test_an_immutable_file_is_named(folder: LocalJobFolder):
    """What even the owner cannot remove is trouble of the host that names the path."""
    fcntl = pytest.importorskip("fcntl")
    stuck = Path(folder.mount, "out", "stuck")
    stuck.parent.mkdir()
    stuck.write_text("")
    flags_set, immutable = 0x40086602, 0x10
    fd = os.open(stuck, os.O_RDONLY)
    try:
        try:
            fcntl.ioctl(fd, flags_set, immutable.to_bytes(8, "little"))
        except OSError as error:
            pytest.skip(f"this file system or user cannot set the attribute: {error}")
        with pytest.raises(DiskTrouble, match=rf"{stuck}': no permission.*chattr"):
            folder.remove()
    finally:
        fcntl.ioctl(fd, flags_set, bytes(8))
        os.close(fd)
    folder.remove()
    assert not top_of(folder).exists()
