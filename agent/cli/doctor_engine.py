"""The checks of Docker and the GPUs: how they are set up, and whether a container like a job's runs."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.adapters import host
from agent.adapters.engine_trial import EngineTrial
from agent.adapters.nvidia import list_gpus
from agent.cli.check import docker_finding
from agent.cli.doctor_case import Case, Check, needs_root
from agent.core.doctor_engine import (
    ReloadFacts,
    Trial,
    engine_facts_of,
    engine_findings,
    refusal_finding,
    reload_finding,
    trial_finding,
)
from agent.core.doctor_gpu import GpuFacts, InsideFacts, gpu_findings, inside_finding
from agent.core.doctor_sandbox import gpu_access_finding
from agent.core.doctor_trial import EXIT_CODE, inside_facts_of
from agent.core.errors import EngineTrouble, HostTrouble
from agent.core.findings import Finding, State

_WORD = "decode-agent-was-here"


def look_at_engine(case: Case) -> Iterator[Finding]:
    """Whether Docker answers this user, and how it is set up."""
    answers = docker_finding(case.settings)
    if answers.state is State.FAILED and not host.is_root() and "ermission" in answers.text:
        yield needs_root("docker", "asking Docker")
        return
    yield answers
    if answers.state is not State.FAILED:
        case.engine = engine_facts_of(EngineTrial(case.settings.docker_host).info())
        yield from engine_findings(case.engine)


def run_container(case: Case) -> Iterator[Finding]:
    """A container with a folder like a job's."""
    if reason := _why_no_container(case, "container"):
        yield reason
        return
    trial = EngineTrial(case.settings.docker_host)
    jobs = case.settings.path_host_base
    with host.trial_folder(jobs) as folder:
        (folder / "in").write_text(f"{_WORD}\n")
        began = time.monotonic()
        try:
            files = host.shell_files()
            with trial.image(files) as image:
                ran = trial.run(image, folder, tuple(files))
        except EngineTrouble as refusal:
            yield refusal_finding(str(refusal))
            return
        wanted = {"file": _WORD, "exit": str(EXIT_CODE), "log": _WORD}
        got = {"file": host.text_of(folder / "out"), "exit": str(ran.exit_code), "log": ran.log.strip()}
        yield trial_finding(Trial(wanted, got, time.monotonic() - began), str(jobs))


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
    if reason := _why_no_container(case, "gpu-job"):
        yield reason
    else:
        facts = _inside(case, uuids)
        yield inside_finding(facts)
        is_by_cdi = facts.is_by_cdi if not facts.refusal else None
    if case.engine is not None:
        specs = host.has_cdi_specs(case.engine.cdi_folders)
        links = host.has_device_links()
        yield reload_finding(ReloadFacts(case.engine.cgroup_driver, is_by_cdi, specs, links))


def _inside(case: Case, uuids: tuple[str, ...]) -> InsideFacts:
    trial = EngineTrial(case.settings.docker_host)
    with host.trial_folder(case.settings.path_host_base) as folder:
        try:
            files = host.shell_files()
            with trial.image(files) as image:
                ran = trial.run(image, folder, tuple(files), uuids)
        except EngineTrouble as refusal:
            return InsideFacts(uuids, refusal=str(refusal))
    return inside_facts_of(uuids, ran.log)


def _why_no_container(case: Case, about: str) -> Finding | None:
    if case.arguments.no_container:
        return Finding(about, State.SKIPPED, "no test container, as asked for")
    if case.engine is None:
        return Finding(about, State.SKIPPED, "Docker has to answer first")
    if not host.is_root() and not _may_write(case.settings.path_host_base):
        return needs_root(about, "a test container with a folder like a job's")
    return None


def _may_write(folder: Path) -> bool:
    try:
        with host.trial_folder(folder):
            return True
    except HostTrouble:
        return False


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
    Check("docker", "asking Docker", look_at_engine, 60),
    Check("container", "running a test container", run_container, 150),
    Check("gpu", "looking for GPUs", look_at_gpus, 60),
    Check("gpu-job", "running a test container with the GPUs", run_gpu_container, 150),
)
