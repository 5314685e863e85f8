"""From settings to a running agent: the one place where the adapters of `run` are made."""

import logging
import os
import shutil
import sys
from argparse import Namespace
from contextlib import closing
from pathlib import Path

from agent import __version__
from agent.adapters.docker_engine import DockerEngine
from agent.adapters.job_folder import LocalJobFolder
from agent.adapters.journal import SqliteJournal
from agent.adapters.nvidia import list_gpus
from agent.adapters.progress import progress_for
from agent.adapters.state_dir import hold_state_dir
from agent.adapters.transfer import HttpTransfer
from agent.cli.connect import Connection
from agent.core.container import Limits
from agent.core.errors import HostTrouble
from agent.core.health import silence_allowed_s
from agent.core.models import Gpu, Slot
from agent.core.slots import Machine, slots_of
from agent.core.stopping import Stop
from agent.daemon import START_S, Daemon, Ending, Renewed, Station
from agent.heard import HeardApi
from agent.heartbeat import Heartbeat
from agent.looking import Options
from agent.phases import Policy, Tools
from agent.ports import ServiceManager
from agent.settings import Settings
from agent.wakeup import WakeUp

log = logging.getLogger(__name__)

_KIB = 1024
_MIB = 1024 * 1024


def run_agent(
    settings: Settings, connection: Connection, arguments: Namespace, service: ServiceManager
) -> Ending:
    """Live until asked to stop, until drained, or until `--once` or `--until-idle` is fulfilled."""
    service.extend(START_S)
    transfer = HttpTransfer(
        idle_timeout_s=settings.transfer_timeout,
        floor_bytes_s=settings.transfer_floor_kib_s * _KIB,
        pool_size=settings.transfers,
    )
    with (
        hold_state_dir(settings.state_dir),
        closing(SqliteJournal(settings.state_dir / "agent.db")) as journal,
        closing(transfer),
        WakeUp() as wake,
    ):
        heard = HeardApi(connection.api)
        tools = Tools(
            heard,
            transfer,
            DockerEngine(settings.docker_host, journal.agent_id, pull_idle_s=settings.image_pull_idle),
            journal,
            lambda job_id: LocalJobFolder(settings.path_host_base, job_id),
            progress_for(sys.stderr, json_lines=arguments.json_logs),
            policy_of(settings),
        )
        slots = slots_for(settings)
        station = Station(
            service,
            heard,
            reread=lambda: renewed_by(settings, slots, arguments),
            version=__version__,
            api_url=settings.api_url,
            account=connection.account.username or "",
            free_bytes=lambda: free_bytes_at(settings.path_host_base),
            hangup_stops=has_terminal(),
        )
        heartbeat = Heartbeat(heard, settings.timeout_status)
        return Daemon(tools, heartbeat, slots, options_of(settings, arguments), Stop(), station).run(wake)


def renewed_by(settings: Settings, slots: tuple[Slot, ...], arguments: Namespace) -> Renewed:
    """What these settings mean for a running agent."""
    options = options_of(settings, arguments)
    return Renewed(options, policy_of(settings), slots, settings.timeout_status, ())


def options_of(settings: Settings, arguments: Namespace) -> Options:
    """How to look for jobs."""
    return Options(settings.timeout_job, settings.groups, arguments.once, arguments.until_idle)


def free_bytes_at(path: Path) -> int | None:
    """What the disk has left where the folder is or will be; None if that cannot be known."""
    for folder in (path, *path.parents):
        try:
            return shutil.disk_usage(folder).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def has_terminal() -> bool:
    """Whether the end of a terminal is a reason to end (SIGHUP); a service has none."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


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
        allowed_silence_s=silence_allowed_s(
            settings.image_pull_idle, settings.transfer_timeout, settings.job_stop_grace
        ),
    )


def _gpus_for(settings: Settings) -> tuple[Gpu, ...]:
    if settings.gpus == "none":
        return ()
    try:
        return list_gpus()
    except HostTrouble as trouble:
        log.warning("Working without GPUs: %s.", trouble)
        return ()


def slots_for(settings: Settings) -> tuple[Slot, ...]:
    """The shares of this machine, none larger than a job may use."""
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    machine = Machine(memory_mib, len(os.sched_getaffinity(0)), _gpus_for(settings))
    return slots_of(machine, settings.job_memory_mib, settings.job_cpus)
