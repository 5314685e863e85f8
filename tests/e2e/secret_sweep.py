"""Looks for secrets in every place of a machine where none may be: a program that runs on it.

    python3 secret_sweep.py watch SEEN                    collect what processes are started with
    python3 secret_sweep.py sweep SEEN [USER] < secrets   look everywhere, or where that user may look

`secrets` is JSON, {kind: [text, …]}; what is found comes out as JSON, [[place, kind], …]. Only the standard
library: the machine has nothing else. What runs here is told nothing that is secret by argv or environment.
"""

import base64
import json
import os
import pwd
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

ROOTS = (
    "/etc", "/opt", "/run", "/tmp", "/var/log", "/var/tmp", "/var/crash", "/var/cache", "/usr/local", "/home",
    "/var/lib/decode-agent", "/var/lib/systemd", "/var/lib/docker/containers", "/srv",
)  # fmt: skip
COMMANDS = {
    # As it is stored, field by field; JSON of the same would only hide special characters.
    "journal": "journalctl --quiet --all -o export",
    "systemctl show": "systemctl show --all '*'; systemctl show --all",
    "systemctl cat": "systemctl cat decode-agent",
    "docker inspect": "docker ps -aq --no-trunc | xargs -r docker inspect",
    "docker logs": "for one in $(docker ps -aq); do docker logs $one 2>&1; done",
}
PIECE_BYTES = 1 << 20
PAUSE_S = 0.003
YOUNG_LOOKS = 50
SHORT_CHARS = 40  # what people choose, and what is sent as "user:password" in base64

Needles = list[tuple[str, bytes]]


def needles_of(secrets: dict[str, list[str]]) -> Needles:
    """Each secret as it stands and quoted; a short one as base64 too, wherever it may begin there."""
    needles = []
    for kind, texts in secrets.items():
        for text in texts:
            plain = text.encode()
            shapes = {plain, quote(text, safe="").encode(), json.dumps(text)[1:-1].encode()}
            for before in range(3) if len(text) < SHORT_CHARS else ():
                coded = base64.b64encode(b"\0" * before + plain)
                # The characters at both ends depend on the neighbours too.
                shapes.add(coded[(0, 2, 3)[before] : -4])
            needles += [(kind, shape) for shape in sorted(shapes)]
    return needles


def kinds_in(stream: BinaryIO, needles: Needles) -> set[str]:
    """The kinds of secrets in a stream."""
    overlap = max(len(needle) for _, needle in needles)
    found, tail = set(), b""
    while piece := stream.read(PIECE_BYTES):
        text = tail + piece
        found |= {kind for kind, needle in needles if needle in text}
        tail = text[-overlap:]
    return found


def files() -> Iterator[Path]:
    """Every regular file below the roots."""
    for root in ROOTS:
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder, name)
                try:
                    if stat.S_ISREG(path.lstat().st_mode):
                        yield path
                except OSError:
                    continue


def processes() -> Iterator[Path]:
    """What each process was started with."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            yield Path(entry.path, "environ")
            yield Path(entry.path, "cmdline")


def watch(seen: Path) -> None:
    """Collect until killed: every environment and command line once.

    A process becomes another one by exec soon after it began, so young ones are looked at again and again.
    """
    known = set()
    looks: dict[str, int] = {}
    with seen.open("wb", buffering=0) as out:
        while True:
            alive = {entry.name for entry in os.scandir("/proc") if entry.name.isdigit()}
            looks = {pid: looks.get(pid, 0) + 1 for pid in alive}
            young = [pid for pid, count in looks.items() if count < YOUNG_LOOKS or count % YOUNG_LOOKS == 0]
            for path in (Path("/proc", pid, name) for pid in young for name in ("environ", "cmdline")):
                try:
                    text = path.read_bytes()
                except OSError:
                    continue
                if (path.name, text) not in known:
                    known.add((path.name, text))
                    out.write(json.dumps([path.name, text.decode("latin-1")]).encode() + b"\n")
            time.sleep(PAUSE_S)


def sweep_seen(seen: Path, needles: Needles) -> Iterator[tuple[str, str]]:
    """What processes had while they were watched."""
    for line in seen.read_bytes().splitlines():
        where, text = json.loads(line)
        found = {kind for kind, needle in needles if needle in text.encode("latin-1")}
        yield from ((f"{where} of a process: {text[:200]!r}", kind) for kind in found)


def sweep_files(needles: Needles) -> Iterator[tuple[str, str]]:
    """What may be read by whoever this runs as; names of files count too."""
    for path in (*files(), *processes()):
        found = {kind for kind, needle in needles if needle in os.fsencode(path)}
        try:
            with path.open("rb") as stream:
                found |= kinds_in(stream, needles)
        except OSError:
            pass
        yield from ((str(path), kind) for kind in found)


def sweep_commands(needles: Needles) -> Iterator[tuple[str, str]]:
    """What the machine's own tools tell."""
    for place, command in COMMANDS.items():
        with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as one:
            assert one.stdout is not None
            yield from ((place, kind) for kind in kinds_in(one.stdout, needles))


def become(user: str) -> None:
    """From now on be that user, with the groups that are theirs."""
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def main(task: str, seen: str, user: str = "") -> None:
    """Do what the command line says."""
    if task == "watch":
        watch(Path(seen))
        return
    needles = needles_of(json.load(sys.stdin))
    if user:
        become(user)
    found = set(sweep_files(needles)) | set(sweep_commands(needles))
    if not user:
        found |= set(sweep_seen(Path(seen), needles))
    json.dump(sorted(found), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
