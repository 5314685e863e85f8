"""Containers like a job's, run to see whether jobs would: for `doctor`, and for a slot that rests."""

import time
from pathlib import Path

from agent.adapters import host
from agent.adapters.engine_trial import EngineTrial, Ran
from agent.core.doctor_engine import Trial, refusal_finding, trial_finding
from agent.core.doctor_gpu import InsideFacts, inside_finding
from agent.core.doctor_trial import EXIT_CODE, inside_facts_of
from agent.core.errors import EngineTrouble, HostTrouble
from agent.core.findings import Finding, State
from agent.core.models import Slot

_WORD = "decode-agent-was-here"


def try_files(docker_host: str, jobs: Path) -> Finding:
    """Whether a container with a folder like a job's, below `jobs`, runs. Raises `HostTrouble`."""
    with host.trial_folder(jobs) as folder:
        (folder / "in").write_text(f"{_WORD}\n")
        began = time.monotonic()
        try:
            ran = _ran_in(docker_host, folder)
        except EngineTrouble as refusal:
            return refusal_finding(str(refusal))
        wanted = {"file": _WORD, "exit": str(EXIT_CODE), "log": _WORD}
        got = {"file": host.text_of(folder / "out"), "exit": str(ran.exit_code), "log": ran.log.strip()}
        return trial_finding(Trial(wanted, got, time.monotonic() - began), str(jobs))


def try_gpus(docker_host: str, jobs: Path, uuids: tuple[str, ...]) -> InsideFacts:
    """What a container is given that asks for these GPUs. Raises `HostTrouble`."""
    with host.trial_folder(jobs) as folder:
        try:
            ran = _ran_in(docker_host, folder, uuids)
        except EngineTrouble as refusal:
            return InsideFacts(uuids, refusal=str(refusal))
    return inside_facts_of(uuids, ran.log)


def _ran_in(docker_host: str, folder: Path, gpu_uuids: tuple[str, ...] = ()) -> Ran:
    """How a trial container with that folder and these GPUs ended. Raises `EngineTrouble`, `HostTrouble`."""
    trial = EngineTrial(docker_host)
    files = host.shell_files()
    with trial.image(files) as image:
        return trial.run(image, folder, tuple(files), gpu_uuids)


class SlotTrial:
    """Fulfils `ports_host.SelfTest`: a container with a folder, then one with the slot's GPUs.

    Each call to Docker is bounded, and so is the whole: a few minutes where all of them hang.
    """

    def __init__(self, docker_host: str, jobs: Path) -> None:
        self._docker_host = docker_host
        self._jobs = jobs

    def __call__(self, slot: Slot) -> None:
        """Run them and remove them. Raises `HostTrouble` with what is wrong."""
        _check(try_files(self._docker_host, self._jobs))
        if uuids := tuple(gpu.uuid for gpu in slot.gpus):
            _check(inside_finding(try_gpus(self._docker_host, self._jobs, uuids)))


def _check(finding: Finding) -> None:
    if finding.state is State.FAILED:
        raise HostTrouble(finding.text)
