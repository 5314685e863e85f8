"""What there is to see on the machine itself: its disks, GPUs, packages, users, and the API's clock.

Nothing here needs root, but some of it shows less without.
"""

import grp
import os
import pwd
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests

from agent.adapters.host_command import run
from agent.core.doctor_host import ClockFacts, Disk
from agent.core.doctor_trial import libraries_in, more_libraries
from agent.core.errors import HostTrouble

_NVIDIA = "0x10de"
_DISPLAY = "0x03"
_SHELL = "/bin/sh"
_TRIAL = "decode-agent-trial-"
_LEFT_OVER_S = 600
_WHOLE_S = 1.0  # what the header Date leaves out


def is_root() -> bool:
    """Whether this process may look everywhere."""
    return os.geteuid() == 0


def nvidia_on_bus(sys: Path = Path("/sys")) -> tuple[str, ...]:
    """The kernel driver (empty: none) of each NVIDIA GPU on the PCI bus."""
    found = []
    for device in sorted((sys / "bus/pci/devices").glob("*")):
        if text_of(device / "vendor") == _NVIDIA and text_of(device / "class").startswith(_DISPLAY):
            driver = device / "driver"
            found.append(driver.resolve().name if driver.exists() else "")
    return tuple(found)


def nvidia_module_version(sys: Path = Path("/sys")) -> str:
    """The version of NVIDIA's kernel module that is loaded; empty: none is."""
    return text_of(sys / "module/nvidia/version")


def has_device_links(dev: Path = Path("/dev")) -> bool:
    """Whether /dev/char has links to NVIDIA's devices, whose major number is 195."""
    return any((dev / "char").glob("195:*"))


def has_cdi_specs(folders: Iterable[str]) -> bool:
    """Whether one of the folders has a CDI spec of NVIDIA's."""
    return any(any(Path(folder).glob("nvidia*")) for folder in folders)


def has_needrestart(etc: Path = Path("/etc")) -> bool:
    """Whether needrestart is installed."""
    return (etc / "needrestart/needrestart.conf").exists()


def has_needrestart_override(etc: Path = Path("/etc")) -> bool:
    """Whether some of its configuration speaks of the agent."""
    return any("decode-agent" in text_of(path) for path in (etc / "needrestart/conf.d").glob("*.conf"))


def apt_config() -> str:
    """What `apt-config dump` says of unattended upgrades; empty where there is no apt."""
    with suppress(HostTrouble):
        return run(["apt-config", "dump", "APT::Periodic", "Unattended-Upgrade"]).out
    return ""


def clock_facts(url: str, timeout_s: float = 10.0) -> ClockFacts:
    """This clock against the one that answers at `url`, whose header Date is whole seconds.

    Raises `HostTrouble` if nothing answers or there is no such header.
    """
    began = time.time()
    try:
        with requests.get(
            url, timeout=timeout_s, auth=_no_auth, stream=True, allow_redirects=False
        ) as answer:
            ended = time.time()
            said = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (OSError, ValueError, TypeError, KeyError) as error:  # those of requests are OSErrors
        raise HostTrouble(f"the API's clock cannot be read ({type(error).__name__})") from error
    ahead_s = (began + ended) / 2 - (said + _WHOLE_S / 2)
    return ClockFacts(ahead_s, (ended - began) / 2 + _WHOLE_S / 2, *_clock_kept())


def _clock_kept() -> tuple[bool | None, bool | None]:
    """Whether something keeps the clock right, and could, by timedatectl; None: it does not say."""
    said = ""
    with suppress(HostTrouble):
        said = run(["timedatectl", "show"]).out
    facts = dict(re.findall(r"^(\w+)=(yes|no)$", said, re.MULTILINE))
    if "NTP" not in facts:
        return None, None
    return "yes" in {facts["NTP"], facts.get("NTPSynchronized")}, facts.get("CanNTP") == "yes"


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Without it requests would add what it finds in ~/.netrc."""
    return request


def disks_of(uses: Mapping[str, Path], mounts: str | None = None) -> list[Disk]:
    """The disks below the folders (which may not be there yet), each once; `uses`: what is kept where."""
    lines = text_of(Path("/proc/self/mountinfo")) if mounts is None else mounts
    found: dict[int, Disk] = {}
    for use, folder in uses.items():
        there = nearest(folder)
        device, room = there.stat().st_dev, os.statvfs(there)
        others = found[device].uses if device in found else ()
        source, kind = _mounted(lines, there.resolve(), device)
        free_bytes, total_bytes = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
        found[device] = Disk((*others, f"{use} {folder}"), source, kind, free_bytes, total_bytes)
    return list(found.values())


def _mounted(mountinfo: str, path: Path, device: int) -> tuple[str, str]:
    """Source and type of the file system (proc_pid_mountinfo(5)) that is mounted nearest above `path`."""
    best, answer = -1, ("?", "?")
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, source, *_) = left.split(), [*right.split(), "?", "?"]
        point = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        rank = len(point.parts) + (1000 if fields[2] == number else 0)
        if path.is_relative_to(point) and rank > best:
            best, answer = rank, (source, kind)
    return answer


def nearest(folder: Path) -> Path:
    """The folder, or the one above that is there and may be looked at."""
    for path in (folder, *folder.parents):
        with suppress(OSError):
            path.stat()
            return path
    return Path("/")


@contextmanager
def trial_folder(folder: Path) -> Iterator[Path]:
    """A folder below that is gone when the block ends. Raises `HostTrouble`."""
    place = nearest(folder)
    try:
        _remove_left_overs(place)
        with tempfile.TemporaryDirectory(prefix=_TRIAL, dir=place) as made:
            yield Path(made)
    except OSError as error:
        raise HostTrouble(f"no folder can be made in {nearest(folder)}: {error.strerror}") from error


def _remove_left_overs(place: Path) -> None:
    """Those of a trial that was killed; younger ones may be of one that is at work."""
    before = time.time() - _LEFT_OVER_S
    for path in place.glob(f"{_TRIAL}*"):
        with suppress(OSError):
            fact = path.lstat()
            if fact.st_mtime < before and fact.st_uid == os.geteuid():
                shutil.rmtree(path)


def flaws_of(folder: Path) -> tuple[str, ...]:
    """What the file system of an empty folder does not keep, as sentences. Raises `OSError`."""
    flaws = []
    plain = folder / "name"
    plain.write_bytes(b"")
    if (folder / "NAME").exists():
        flaws.append("takes two names that differ in case for one")
    plain.chmod(0o640)
    if plain.stat().st_mode & 0o777 != 0o640:  # noqa: PLR2004  the line above
        flaws.append("does not keep permissions")
    try:
        (folder / 'a: "b"?*').write_bytes(b"")
    except OSError:
        flaws.append('refuses names with : " ? *')
    return tuple(flaws)


def groups_of(user: str) -> frozenset[str]:
    """The names of the user's groups; none if there is no such user."""
    try:
        numbers = os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except KeyError:
        return frozenset()
    return frozenset(group_name(number) for number in numbers)


def group_name(number: int) -> str:
    """The group's name, or its number where it has none."""
    with suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return str(number)


def socket_group(docker_host: str) -> str | None:
    """The group that Docker's socket belongs to; None: it is no socket here."""
    url = urlsplit(docker_host)
    if url.scheme != "unix":
        return None
    with suppress(OSError):
        return group_name(Path(url.path).stat().st_gid)
    return None


def program_version(program: str) -> str:
    """The version that a decode-agent tells with --version; empty if it cannot be run."""
    with suppress(HostTrouble):
        return run([program, "--version"], 30.0).out.strip().removeprefix("decode-agent ")
    return ""


def shell_files() -> dict[str, Path]:
    """What an image needs in which this machine's shell runs: paths in it, and here. Raises `HostTrouble`."""
    libraries = libraries_in(run(["ldd", _SHELL]).out)
    paths = (_SHELL, *libraries, *more_libraries(libraries))
    return {path: Path(path) for path in paths if Path(path).is_file()}


def text_of(path: Path) -> str:
    """What the file says, stripped; empty if it cannot be read."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text("utf-8").strip()
    return ""
