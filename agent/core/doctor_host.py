"""Clock, disks, updates and proxies of the machine, and what a doctor makes of them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.core.doctor_unit import UNIT
from agent.core.findings import Finding, Repair, State

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
NEEDRESTART_FILE = "/etc/needrestart/conf.d/decode-agent.conf"
_GIB = 1024**3
_LITTLE_GIB, _TOO_LITTLE_GIB = 20, 2
_LATE_S, _TOO_LATE_S = 30.0, 300.0


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """This clock: how far it is ahead of the API's, give or take `doubt_s`; what timedatectl says of it.

    `is_kept`: whether something keeps it right; `can_be_kept`: whether set-ntp would start something.
    Both None where nobody can tell.
    """

    ahead_s: float
    doubt_s: float
    is_kept: bool | None
    can_be_kept: bool | None


def clock_finding(clock: ClockFacts) -> Finding:
    """Tokens and presigned URLs are refused when clocks differ by minutes."""
    about = "clock"
    off_s = max(abs(clock.ahead_s) - clock.doubt_s, 0.0)
    if off_s > _LATE_S:
        text = f"is {off_s:.0f} s {'ahead of' if clock.ahead_s > 0 else 'behind'} the API's"
    elif clock.is_kept is False:
        text = "agrees with the API's, but nothing keeps it right"
    else:
        return Finding(about, State.OK, "agrees with the API's")
    state = State.FAILED if off_s > _TOO_LATE_S else State.WARNING
    if clock.can_be_kept is False:
        return Finding(about, state, text, "sudo apt install systemd-timesyncd (in a container: on its host)")
    return Finding(about, state, text, "sudo timedatectl set-ntp true", Repair.SYNC_CLOCK)


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk and what is kept on it. `source`: its device or share."""

    uses: tuple[str, ...]
    source: str
    file_system: str
    free_bytes: int
    total_bytes: int


def disk_finding(disk: Disk, min_free_gib: float) -> Finding:
    """Whether there is room for images and jobs. `min_free_gib`: with less the agent takes none."""
    free_gib, total_gib = disk.free_bytes / _GIB, disk.total_bytes / _GIB
    where = f"{disk.source} ({disk.file_system})"
    text = f"{' and '.join(disk.uses)} on {where}: {_gib(free_gib)} of {_gib(total_gib)} free"
    fix = "make room (docker system df shows what Docker holds), or move them to a larger disk"
    if free_gib < min_free_gib:
        text = f"{text}, no job is taken (MIN_FREE_DISK_GIB={min_free_gib:g})"
    if free_gib < max(min_free_gib, _TOO_LITTLE_GIB):
        return Finding("disk", State.FAILED, text, fix)
    if free_gib < max(2 * min_free_gib, _LITTLE_GIB):
        return Finding("disk", State.WARNING, text, fix)
    return Finding("disk", State.OK, text)


def _gib(size_gib: float) -> str:
    return f"{size_gib:.1f} GiB" if size_gib < 10 else f"{size_gib:.0f} GiB"  # noqa: PLR2004  two digits are enough


def file_system_finding(folder: str, flaws: tuple[str, ...]) -> Finding:
    """Whether the job folders' file system keeps what jobs write: `flaws` are sentences about it."""
    if not flaws:
        return Finding("folders", State.OK, f"{folder} keeps names and permissions as jobs need them")
    fix = "set PATH_HOST_BASE to a folder on a Linux file system (ext4, xfs, btrfs)"
    return Finding("folders", State.FAILED, f"{folder}: {'; '.join(flaws)}", fix)


def needrestart_finding(*, is_installed: bool, has_override: bool) -> Finding:
    """Whether package upgrades would restart the service in passing. A restart harms no job; it is noise."""
    about = "updates"
    if not is_installed:
        return Finding(about, State.OK, "needrestart is not installed")
    if has_override:
        return Finding(about, State.OK, "needrestart leaves the service alone")
    text = "needrestart restarts the service after upgrades of libraries"
    fix = f"write {NEEDRESTART_FILE}, as install.sh does"
    return Finding(about, State.WARNING, text, fix, Repair.WRITE_NEEDRESTART)


def needrestart_override() -> str:
    """The content of `NEEDRESTART_FILE`, which is Perl; install.sh writes the same."""
    name = UNIT.replace(".", r"\.")
    return (
        f"# Installed as {NEEDRESTART_FILE}: a library update need not restart the agent. It would do\n"
        "# no harm, since a restart leaves jobs running, but a transfer under way would begin anew.\n"
        f"$nrconf{{override_rc}}{{qr(^{name}$)}} = 0;\n"
    )


def upgrade_findings(apt: str, *, has_gpu: bool) -> Iterator[Finding]:
    """What `apt-config dump` says of unattended upgrades: they may update the driver, or boot the machine."""
    about = "updates"
    said = dict(re.findall(r'^([\w:-]+) "(.*)";$', apt, re.MULTILINE))
    if said.get("APT::Periodic::Unattended-Upgrade", "0") in {"0", "", "false"}:
        return
    if said.get("Unattended-Upgrade::Automatic-Reboot", "").lower() in {"true", "yes", "1"}:
        text = "unattended upgrades may restart the machine, which ends running jobs"
        fix = 'in /etc/apt/apt.conf.d: Unattended-Upgrade::Automatic-Reboot "false";'
        yield Finding(about, State.WARNING, text, fix)
    held = [line for line in apt.splitlines() if line.startswith("Unattended-Upgrade::Package-Blacklist:")]
    if has_gpu and not any("nvidia" in line for line in held):
        text = "unattended upgrades may update NVIDIA's driver; GPUs then fail until the machine is restarted"
        fix = 'in /etc/apt/apt.conf.d: Unattended-Upgrade::Package-Blacklist { "nvidia"; "libnvidia"; };'
        yield Finding(about, State.WARNING, text, fix)


def proxies_in(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxy settings, by their names in capitals; the small ones win, as in curl and requests."""
    found = {name: environ.get(name.lower()) or environ.get(name) or "" for name in PROXIES}
    return {name: without_password(value) for name, value in found.items() if value}


def without_password(url: str) -> str:
    """The proxy without user name and password."""
    return re.sub(r"^(\w+://)?.*@", r"\1…@", url)


def proxy_finding(
    own: Mapping[str, str], service: Mapping[str, str] | None, docker: Mapping[str, str] | None
) -> Finding:
    """Whether the service and Docker go out the same way as this shell; None: not known."""
    about = "proxy"
    ways = {"the service": service, "Docker": docker}
    known = {who: _way(proxies) for who, proxies in ways.items() if proxies is not None}
    if _way(own) or not known:  # sudo takes them out of the environment: none here says nothing
        known["this shell"] = _way(own)
    if len(set(known.values())) == 1:
        way = next(iter(known.values()))
        return Finding(about, State.OK, f"{way or 'none is set'} ({', '.join(known)})")
    text = "; ".join(f"{who}: {way or 'none'}" for who, way in known.items())
    fix = (
        f"where one is missing: sudo systemctl edit {UNIT} (or docker), below [Service] the line"
        " Environment=HTTPS_PROXY=http://…; restart Docker only when no job runs"
    )
    return Finding(about, State.WARNING, text, fix)


def _way(proxies: Mapping[str, str]) -> str:
    """What counts for https, which all our traffic should be."""
    return proxies.get("HTTPS_PROXY", "").rstrip("/")
