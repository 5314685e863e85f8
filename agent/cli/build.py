"""From settings to a running agent: the one place where the adapters of `run` are made."""

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from agent import __version__
from agent.adapters.control import ControlServer
from agent.adapters.disks import Disks
from agent.adapters.docker_engine import DockerEngine
from agent.adapters.host_systemd import is_going_down
from agent.adapters.inhibitor import LogindInhibitor
from agent.adapters.job_folder import LocalJobFolder
from agent.adapters.job_folder_list import list_job_folders
from agent.adapters.journal import SqliteJournal
from agent.adapters.nvidia import GpuUse
from agent.adapters.progress import progress_for
from agent.adapters.state_dir import hold_jobs_dir, hold_state_dir
from agent.adapters.transfer import HttpTransfer
from agent.cli.connect import Connection
from agent.cli.meaning import Rereading, machine_of, options_of, policy_of, slots_for
from agent.cli.trial import SlotTrial
from agent.core.stopping import Stop
from agent.daemon import START_S, Daemon
from agent.desk import Desk
from agent.heard import HeardApi
from agent.heartbeat import Heartbeat
from agent.ports_host import ServiceManager
from agent.settings import Settings
from agent.station import Ending, Renewed, Station
from agent.toolbox import Tools
from agent.wakeup import WakeUp

_KIB = 1024


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
        hold_jobs_dir(settings.path_host_base) as has_folders,
        closing(SqliteJournal(settings.state_dir / "agent.db")) as journal,
        closing(transfer),
        closing(
            DockerEngine(settings.docker_host, journal.agent_id, pull_idle_s=settings.image_pull_idle)
        ) as engine,
        WakeUp() as wake,
    ):
        heard = HeardApi(connection.api)
        tools = Tools(
            heard,
            transfer,
            engine,
            journal,
            lambda job_id: LocalJobFolder(settings.path_host_base, job_id),
            progress_for(sys.stderr, json_lines=arguments.json_logs),
            policy_of(settings),
        )
        tools = with_machine(tools, settings, may_remove_folders=has_folders)
        machine = machine_of(settings)
        station = station_of(settings, connection, service, heard, Rereading(arguments, settings, machine))
        heartbeat = Heartbeat(heard, settings.timeout_status)
        slots, options = slots_for(settings, machine), options_of(settings, arguments)
        daemon = Daemon(tools, heartbeat, slots, options, Stop(), station)
        with ControlServer(control_path(settings), Desk(daemon, journal, engine)):
            return daemon.run(wake)


def with_machine(tools: Tools, settings: Settings, *, may_remove_folders: bool) -> Tools:
    """The tools that know this machine: its GPUs, its way down, its disks and what is left over there."""
    jobs = settings.path_host_base
    disks = Disks({"the journal": settings.state_dir, "jobs": jobs}, tools.engine)
    folders = (lambda: list_job_folders(jobs)) if may_remove_folders else frozenset
    return replace(
        tools,
        inhibit=LogindInhibitor(),
        gpu_use=GpuUse(),
        free_bytes=disks.least_free_bytes,
        rooms=disks.rooms,
        folders=folders,
    )


def station_of(
    settings: Settings,
    connection: Connection,
    service: ServiceManager,
    heard: HeardApi,
    reread: Callable[[], Renewed],
) -> Station:
    """Who started the agent, and what is told of it."""
    return Station(
        service,
        heard,
        reread,
        version=__version__,
        api_url=settings.api_url,
        account=connection.account.username or "",
        free_bytes=lambda: free_bytes_at(settings.path_host_base),
        hangup_stops=has_terminal(),
        is_going_down=is_going_down,
        self_test=SlotTrial(settings.docker_host, settings.path_host_base),
    )


def control_path(settings: Settings) -> Path:
    """Where `decode-agent status` finds the agent: in systemd's RuntimeDirectory, else with the state."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return (Path(runtime) if runtime else settings.state_dir) / "control.sock"


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
