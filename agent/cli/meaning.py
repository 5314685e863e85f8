"""What the settings mean for the agent: at its start, and when they are read again while it runs."""

import logging
import os
from argparse import Namespace
from typing import Any

from pydantic import SecretStr

from agent import __version__
from agent.adapters.nvidia import list_gpus
from agent.cli.connect import read
from agent.core.container import Limits
from agent.core.errors import HostTrouble
from agent.core.health import silence_allowed_s
from agent.core.models import Gpu, Slot
from agent.core.reloading import sentences_of
from agent.core.slots import Machine, slots_of
from agent.looking import Options
from agent.settings import SECRETS, Settings
from agent.station import Renewed
from agent.toolbox import Policy

log = logging.getLogger(__name__)

_MIB = 1024 * 1024
_GIB = 1024 * _MIB
LIVE = frozenset(
    {
        "TIMEOUT_JOB",
        "TIMEOUT_STATUS",
        "GROUPS",
        "IMAGE_PULL",
        "ALLOWED_IMAGES",
        "JOB_NETWORK",
        "JOB_MEMORY_MIB",
        "JOB_CPUS",
        "JOB_SHM_MIB",
        "JOB_PIDS",
        "JOB_CAPABILITIES",
        "JOB_MAX_RUNTIME",
        "JOB_STALL_WARN",
        "JOB_LOG_MIB",
        "JOB_STOP_GRACE",
        "TRANSFERS",
        "RETRY_BUDGET",
        "MIN_FREE_DISK_GIB",
        "LEFTOVER_GRACE",
        "HOST_PATIENCE",
        "HOST_FAILURES",
        "LOG_LEVEL",
    }
)
"""What can change while jobs run: it counts for the next one. The rest waits for a restart."""


class Rereading:
    """Reads the settings again, as the command line `arguments` says."""

    def __init__(self, arguments: Namespace, settings: Settings, machine: Machine) -> None:
        self._arguments = arguments
        self._machine = machine
        self._running = settings

    def __call__(self) -> Renewed:
        """What holds from now on. Raises `ConfigError`."""
        loaded = read(self._arguments)
        for warning in loaded.warnings:
            log.warning("%s.", warning)
        running, wanted = _values_of(self._running), _values_of(loaded.settings)
        sentences = sentences_of(running, wanted, LIVE, SECRETS)
        live = {name.lower(): getattr(loaded.settings, name.lower()) for name in LIVE}
        settings = self._running = self._running.model_copy(update=live)
        logging.getLogger("agent").setLevel(settings.log_level.upper())
        return Renewed(
            options_of(settings, self._arguments),
            policy_of(settings),
            slots_for(settings, self._machine),
            settings.timeout_status,
            sentences,
        )


def _values_of(settings: Settings) -> dict[str, Any]:
    """By their names; those of secrets are there to be compared, never shown."""
    values = {name.upper(): getattr(settings, name) for name in Settings.model_fields}
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in values.items()
    }


def options_of(settings: Settings, arguments: Namespace) -> Options:
    """How to look for jobs."""
    return Options(
        settings.timeout_job,
        settings.groups,
        arguments.once,
        arguments.until_idle,
        _min_free_bytes(settings),
        settings.leftover_grace,
    )


def _min_free_bytes(settings: Settings) -> int:
    return int(settings.min_free_disk_gib * _GIB)


def policy_of(settings: Settings) -> Policy:
    """What the settings say about jobs; 0 in a limit stands for all that the slot has."""
    limits = Limits(
        network=settings.job_network,
        memory_mib=settings.job_memory_mib or 0,
        cpus=settings.job_cpus or 0.0,
        shm_mib=settings.job_shm_mib or 0,
        pids=settings.job_pids,
        capabilities=settings.job_capabilities,
        log_max_mib=settings.job_log_mib,
    )
    return Policy(
        limits,
        __version__,
        pull=settings.image_pull,
        allowed_images=settings.allowed_images,
        max_runtime_s=settings.job_max_runtime,
        stop_grace_s=settings.job_stop_grace,
        transfers=settings.transfers,
        transfer_budget_s=settings.retry_budget,
        host_patience_s=settings.host_patience,
        host_failures=settings.host_failures,
        stall_warn_s=settings.job_stall_warn,
        min_free_bytes=_min_free_bytes(settings),
        allowed_silence_s=silence_allowed_s(
            settings.image_pull_idle, settings.transfer_timeout, settings.job_stop_grace
        ),
    )


def machine_of(settings: Settings) -> Machine:
    """What there is to share out."""
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    return Machine(memory_mib, len(os.sched_getaffinity(0)), _gpus_for(settings))


def _gpus_for(settings: Settings) -> tuple[Gpu, ...]:
    if settings.gpus == "none":
        return ()
    try:
        return list_gpus()
    except HostTrouble as trouble:
        log.warning("Working without GPUs: %s.", trouble)
        return ()


def slots_for(settings: Settings, machine: Machine) -> tuple[Slot, ...]:
    """The shares of the machine, none larger than a job may use."""
    return slots_of(machine, settings.job_memory_mib, settings.job_cpus)
