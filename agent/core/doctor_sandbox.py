"""A trial run under the same conditions as the service: its user, credentials and sandbox.

`systemd-run` starts it; what it is told is read from the unit's own files as `systemctl cat` shows them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.doctor_unit import UNIT
from agent.core.findings import Finding, State
from agent.core.wire import one_line

TIME_LIMIT_S = 60

# What makes the conditions. Not RuntimeDirectory=: systemd would remove the service's own at the trial's end.
_PREFIXES = ("Protect", "Private", "Restrict", "SystemCall", "Device", "LoadCredential", "SetCredential")
_NAMES = frozenset(
    {
        "User",
        "Group",
        "SupplementaryGroups",
        "UMask",
        "WorkingDirectory",
        "Environment",
        "EnvironmentFile",
        "PassEnvironment",
        "UnsetEnvironment",
        "AmbientCapabilities",
        "CapabilityBoundingSet",
        "NoNewPrivileges",
        "LockPersonality",
        "MemoryDenyWriteExecute",
        "RemoveIPC",
        "ReadWritePaths",
        "ReadOnlyPaths",
        "InaccessiblePaths",
        "ExecPaths",
        "NoExecPaths",
        "BindPaths",
        "BindReadOnlyPaths",
        "TemporaryFileSystem",
        "ProcSubset",
        "KeyringMode",
        "IPAddressAllow",
        "IPAddressDeny",
    }
)
_FOLDERS = {"StateDirectory": "/var/lib", "CacheDirectory": "/var/cache", "LogsDirectory": "/var/log"}
_CREDENTIALS_STATUS = 243  # systemd.exec(5): EXIT_CREDENTIALS
_SANDBOX_STATUSES = range(200, 246)  # systemd.exec(5): systemd could not even start the program


def assignments_of(text: str) -> Iterator[tuple[str, str]]:
    """Every NAME=value below [Service] that `systemctl cat` shows of a unit and its drop-ins, in order."""
    section, begun = "", ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not begun):
            continue
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        line, begun = (begun + line).strip(), ""
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == "Service" and "=" in line:
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def trial_properties(text: str) -> tuple[str, ...]:
    """What `systemd-run -p` has to be told for the conditions of the unit that `systemctl cat` shows.

    Values with specifiers (`%h`) are left out: systemd expands those of unit files only.
    """
    found = []
    for name, value in assignments_of(text):
        if "%" in value.replace("%%", ""):
            continue
        plain = value.replace("%%", "%")
        if name in _FOLDERS:
            found += [f"ReadWritePaths=-{_FOLDERS[name]}/{folder}" for folder in plain.split()]
        elif name in _NAMES or name.startswith(_PREFIXES):
            found.append(f"{name}={plain}")
    return tuple(found)


def unknown_property(complaint: str) -> str:
    """The property that systemd-run complains of not to know; empty: it complains of another thing."""
    for mark in ("Unknown assignment: ", "Cannot set property "):
        if mark in complaint:
            return complaint.partition(mark)[2].split("=")[0].split(",")[0].strip()
    return ""


def trial_failure(status: int | None, said: str) -> Finding:
    """What it means that the trial gave no answer. `status`: its exit status, None if it took too long."""
    about = "sandbox"
    if status is None:
        text = f"a trial run as the service gave no answer within {TIME_LIMIT_S} s"
        return Finding(about, State.FAILED, text, f"sudo journalctl -n 30; is {UNIT} itself well?")
    if status == _CREDENTIALS_STATUS:
        text = "systemd cannot hand the credentials to the service: they are missing or of another machine"
        return Finding("credentials", State.FAILED, text, "store them anew: sudo decode-agent login")
    if status in _SANDBOX_STATUSES:
        text = f"systemd cannot start a program under the service's conditions (status {status})"
        return Finding(about, State.FAILED, text, "see what it says: sudo journalctl -n 30")
    text = f"a trial run as the service ended with {status}: {one_line(said) or 'it said nothing'}"
    return Finding(about, State.FAILED, text, "install the agent anew: sudo ./install.sh")


def sandbox_fix(finding: Finding) -> Finding:
    """The finding as the service's: where the sandbox closes a folder, the fix is another."""
    if finding.about != "folders" or finding.state is not State.FAILED:
        return finding
    folder = finding.text.partition("=")[2].partition(":")[0].removesuffix(" (will be made)")
    fix = (
        f"the service's user must own it; outside /var/lib/decode-agent also: sudo systemctl edit {UNIT},"
        f" below [Service] the line ReadWritePaths={folder}"
    )
    return Finding(finding.about, finding.state, finding.text, fix)


@dataclass(frozen=True, slots=True)
class UnitReport:
    """What the trial says. `proxies`: the service's; `gpus`: how many it sees, None if it may have none."""

    findings: tuple[Finding, ...]
    proxies: dict[str, str]
    gpus: int | None


def gpu_access_finding(seen: int, on_machine: int) -> Finding:
    """Whether the service sees the GPUs that the machine has."""
    if seen >= on_machine:
        return Finding("gpu", State.OK, f"the service sees {seen}")
    text = f"the service sees {seen} of {on_machine} GPUs"
    fix = f"its sandbox keeps them away: see DeviceAllow= in `systemctl cat {UNIT}`, or restart the machine"
    return Finding("gpu", State.FAILED, text, fix)
