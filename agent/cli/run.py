"""`decode-agent run`: the agent in the foreground."""

import faulthandler
import logging
import os
import sys
from argparse import Namespace
from contextlib import closing

from agent import __version__
from agent.adapters.console import format_for, set_up_logging
from agent.adapters.journald import JournaldHandler
from agent.adapters.systemd import service_manager
from agent.cli.build import run_agent
from agent.cli.connect import Connection, account_of, connect, log_in, read, secrets_of
from agent.cli.exits import Exit
from agent.core.errors import AgentError, HostTrouble
from agent.ports import Tokens
from agent.ports_host import ServiceManager
from agent.settings import Settings
from agent.station import Ending

log = logging.getLogger(__name__)


def run(arguments: Namespace) -> int:
    """Read the settings, log in, work until asked to stop."""
    faulthandler.enable()  # systemd's watchdog sends SIGABRT: where every thread was then goes to the journal
    loaded = read(arguments)
    settings = loaded.settings
    account = account_of(settings)
    shape = format_for(sys.stderr, os.environ, json_lines=arguments.json_logs)
    set_up_logging(shape, settings.log_level, secrets_of(settings, account), JournaldHandler)
    log.info(f"decode-agent {__version__} works for {settings.api_url}.")
    for warning in loaded.warnings:
        log.warning(f"{warning}.")
    connection = connect(settings, account)
    with connection.api, closing(service_manager(os.environ)) as service:
        if not service.is_there:  # a service is ready before anybody has answered; a refusal is then shown
            _log_in_early(connection.tokens)
        ending = _live(settings, connection, arguments, service)
    match ending:
        case Ending.STOPPED:
            return Exit.OK
        case Ending.DRAINED:
            return Exit.DRAINED


def _live(
    settings: Settings, connection: Connection, arguments: Namespace, service: ServiceManager
) -> Ending:
    """The agent's life; an end that nobody thought of is in the log with all that helps to find out why."""
    try:
        return run_agent(settings, connection, arguments, service)
    except (AgentError, KeyboardInterrupt):
        raise
    except Exception:
        log.critical(
            "The agent ends by an error; containers run on, the next start adopts them.", exc_info=True
        )
        raise


def _log_in_early(tokens: Tokens) -> None:
    """Refused credentials end a command in the foreground at once. Raises `ConfigError`."""
    try:
        log_in(tokens)
    except HostTrouble as trouble:
        log.warning(f"Not logged in yet: {trouble}.")
