"""The checks of Docker: how it is set up, and whether a container like a job's runs."""

from collections.abc import Iterator
from pathlib import Path

from agent.adapters import host
from agent.adapters.engine_trial import EngineTrial
from agent.cli.check import docker_finding
from agent.cli.doctor_case import Case, Check, needs_root
from agent.cli.trial import try_files
from agent.core.doctor_engine import engine_facts_of, engine_findings
from agent.core.errors import HostTrouble
from agent.core.findings import Finding, State


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
    if reason := why_no_container(case, "container"):
        yield reason
        return
    yield try_files(case.settings.docker_host, case.settings.path_host_base)


def why_no_container(case: Case, about: str) -> Finding | None:
    """A line for a test container that is not run; None: nothing is in its way."""
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


CHECKS = (
    Check("docker", "asking Docker", look_at_engine, 60),
    Check("container", "running a test container", run_container, 150),
)
