"""The checks of the GPUs: on the machine, as the service sees them, and in a container like a job's."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from agent.adapters import host
from agent.adapters.nvidia import list_gpus
from agent.cli.doctor_case import Case, Check
from agent.cli.doctor_engine import why_no_container
from agent.cli.trial import try_gpus
from agent.core.doctor_engine import ReloadFacts, reload_finding
from agent.core.doctor_gpu import GpuFacts, gpu_findings, inside_finding
from agent.core.doctor_sandbox import gpu_access_finding
from agent.core.errors import HostTrouble
from agent.core.findings import Finding, State


def look_at_gpus(case: Case) -> Iterator[Finding]:
    """The GPUs on this machine, and whether the service sees them."""
    if case.settings.gpus == "none":
        yield Finding("gpu", State.OK, "GPUS=none: jobs get no GPU")
        return
    case.gpus = _gpu_facts()
    yield from gpu_findings(case.gpus)
    if case.gpus.gpus and case.from_unit is not None and case.from_unit.gpus is not None:
        yield gpu_access_finding(case.from_unit.gpus, len(case.gpus.gpus))


def _gpu_facts() -> GpuFacts:
    on_bus, version = host.nvidia_on_bus(), host.nvidia_module_version()
    with _overheard("agent.adapters.nvidia") as left_out:
        try:
            gpus = list_gpus()
        except HostTrouble as trouble:
            return GpuFacts(on_bus, version, trouble=str(trouble))
    return GpuFacts(on_bus, version, gpus, left_out=tuple(left_out))


def run_gpu_container(case: Case) -> Iterator[Finding]:
    """A container that asks for all GPUs, and whether it would keep them."""
    uuids = tuple(gpu.uuid for gpu in case.gpus.gpus)
    if not uuids:
        return
    is_by_cdi = None
    if reason := why_no_container(case, "gpu-job"):
        yield reason
    else:
        facts = try_gpus(case.settings.docker_host, case.settings.path_host_base, uuids)
        yield inside_finding(facts)
        is_by_cdi = facts.is_by_cdi if not facts.refusal else None
    if case.engine is not None:
        specs = host.has_cdi_specs(case.engine.cdi_folders)
        links = host.has_device_links()
        yield reload_finding(ReloadFacts(case.engine.cgroup_driver, is_by_cdi, specs, links))


@contextmanager
def _overheard(name: str) -> Iterator[list[str]]:
    """The warnings that are logged while the block runs, in place of being printed."""
    heard: list[str] = []
    logger = logging.getLogger(name)
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]  # all it has to do
    logger.addHandler(handler)
    was, logger.propagate = logger.propagate, False
    try:
        yield heard
    finally:
        logger.removeHandler(handler)
        logger.propagate = was


CHECKS = (
    Check("gpu", "looking for GPUs", look_at_gpus, 60),
    Check("gpu-job", "running a test container with the GPUs", run_gpu_container, 150),
)
