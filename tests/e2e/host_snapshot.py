"""What is on a host: to see that a machine is as it was."""

from tests.e2e.hosts import Host

# What belongs to nobody's change: logs, caches and indexes that apt and systemd keep for themselves,
# what a Debian tool leaves behind when it edits the accounts, and the places where the test's own things lie.
PASSING = (
    "/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp", "/root", "/var/log", "/var/cache", "/var/lib/apt",
    "/var/lib/dpkg", "/var/lib/docker", "/var/lib/containerd", "/var/lib/systemd", "/etc/.pwd.lock",
    "/etc/ld.so.cache", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-",
    "/etc/subgid-",
)  # fmt: skip


def snapshot(host: Host) -> set[str]:
    """Every path with type, mode, owner, and content if it is small; the installed packages; the units."""
    pruned = " -o ".join(f"-path {path}" for path in PASSING)
    listed = host.run(f"find / -xdev \\( {pruned} \\) -prune -o -printf '%y %m %u:%g %p %l\\n'").stdout
    contents = host.run("find /etc /usr/local -xdev -type f -size -64k -exec md5sum {} +").stdout
    packages = host.run("dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n'").stdout
    # Transient units come and go with containers; how wide the columns are depends on what is in them.
    listing = "systemctl list-unit-files --no-pager --no-legend --plain"
    units = host.run(f"{listing} | awk '$2 != \"transient\" {{print $1, $2, $3}}'").stdout
    passing = [f" {path}" for path in PASSING]
    lines = {line.rstrip() for text in (listed, packages, units) for line in text.splitlines()}
    lines |= {line for line in contents.splitlines() if not any(path in line for path in passing)}
    return {line for line in lines if "__pycache__" not in line}
