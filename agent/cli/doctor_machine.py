"""The checks of what is around: disks, file system, updates, proxies."""

import os
from collections.abc import Iterator
from pathlib import Path

from agent.adapters import host
from agent.cli.doctor_case import Case, Check, needs_root
from agent.core.doctor_host import (
    disk_finding,
    file_system_finding,
    needrestart_finding,
    proxies_in,
    proxy_finding,
    upgrade_findings,
)
from agent.core.errors import HostTrouble
from agent.core.findings import Finding


def look_at_disks(case: Case) -> Iterator[Finding]:
    """Room for images, journal and jobs, and whether files keep their names."""
    uses = {"state": case.settings.state_dir}
    if not case.settings.path_host_base.is_relative_to(case.settings.state_dir):
        uses["jobs"] = case.settings.path_host_base
    if case.engine is not None and case.engine.root:
        uses["images"] = Path(case.engine.root)
    for disk in host.disks_of(uses):
        yield disk_finding(disk, case.settings.min_free_disk_gib)
    jobs = case.settings.path_host_base
    try:
        with host.trial_folder(jobs) as folder:
            yield file_system_finding(str(jobs), host.flaws_of(folder))
    except HostTrouble as trouble:
        if host.is_root():
            raise
        del trouble
        yield needs_root("folders", f"trying the file system of {jobs}")


def look_at_updates(case: Case) -> Iterator[Finding]:
    """What package upgrades may do to the service and the driver."""
    yield needrestart_finding(
        is_installed=host.has_needrestart(), has_override=host.has_needrestart_override()
    )
    yield from upgrade_findings(host.apt_config(), has_gpu=bool(case.gpus.gpus or case.gpus.on_bus))


def look_at_proxies(case: Case) -> Iterator[Finding]:
    """Whether all who go out go the same way."""
    service = case.from_unit.proxies if case.from_unit else None
    docker = case.engine.proxies if case.engine else None
    yield proxy_finding(proxies_in(os.environ), service, docker)


CHECKS = (
    Check("disk", "looking at the disks", look_at_disks, 60),
    Check("updates", "looking at the update settings", look_at_updates, 40),
    Check("proxy", "comparing proxy settings", look_at_proxies, 20),
)
