"""The control socket itself: making it, removing it, and who is at the other end of a connection.

unix(7): SO_PEERCRED, SO_PEERGROUPS (Linux 4.13) are what the kernel knew when the other end connected.
"""

import grp
import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.core.control_api import GROUP, Peer

SOCKET_MODE = 0o660
_SO_PEERGROUPS = 59  # <asm-generic/socket.h>; Python has no name for it
_CREDENTIALS = struct.Struct("3i")
_GID_BYTES = 4
_MOST_BYTES = 1024  # what Python's getsockopt returns at most: 256 groups
_BACKLOG = 64


@contextmanager
def bound_socket(path: Path) -> Iterator[socket.socket]:
    """A listening socket at `path` while the block runs. Raises `OSError`; its text is for people.

    A dead socket of our own there is replaced; a live one, another's, or a file that is none is left alone.
    """
    _make_way(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        os.fchmod(listener.fileno(), SOCKET_MODE)  # so that bind makes a file that was never open to more
        listener.bind(str(path))
        made = path.lstat()
        try:
            _open_to_group(path)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            yield listener
        finally:
            with suppress(OSError):
                there = path.lstat()
                if (there.st_dev, there.st_ino) == (made.st_dev, made.st_ino):
                    path.unlink()


def _open_to_group(path: Path) -> None:
    """The mode whatever the umask, and the group that the folder belongs to, if we may."""
    gid = path.parent.stat().st_gid
    if path.lstat().st_gid != gid:  # a sandbox may kill who even tries to change owners
        with suppress(OSError):
            os.chown(path, -1, gid)
    path.chmod(SOCKET_MODE)


def _make_way(path: Path) -> None:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise FileExistsError(0, "a file that is no socket is in its place")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        with suppress(ConnectionRefusedError):  # nobody listens
            probe.connect(str(path))
            raise FileExistsError(0, "another agent listens there")
    if there.st_uid != os.geteuid() and os.geteuid() != 0:
        raise FileExistsError(0, "a dead socket of another user is in its place: remove it")
    path.unlink()


def peer_of(connection: socket.socket) -> Peer:
    """Who connected. Raises `OSError`."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(packed)
    return Peer(pid, uid, frozenset({gid, *_groups_of(connection, uid, gid)}))


def _groups_of(connection: socket.socket, uid: int, gid: int) -> list[int]:
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError:  # more than 256 groups, or a very old kernel: what the user's would be at login
        with suppress(KeyError):
            return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
        return []
    return [gid for (gid,) in struct.iter_unpack("I", packed[: len(packed) // _GID_BYTES * _GID_BYTES])]


def trusted_groups(path: Path) -> frozenset[int]:
    """The group of the folder of the socket at `path`, and the group decode-agent where there is one."""
    found = set()
    with suppress(OSError):
        found.add(path.parent.stat().st_gid)
    with suppress(KeyError):
        found.add(grp.getgrnam(GROUP).gr_gid)
    return frozenset(found)
