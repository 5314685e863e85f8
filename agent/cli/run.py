"""`decode-agent run`: the agent in the foreground."""

import logging
import os
import sys
from argparse import Namespace

from agent import __version__
from agent.adapters.console import format_for, set_up_logging
from agent.cli.build import run_agent
from agent.cli.connect import account_of, connect, log_in, read, secrets_of
from agent.cli.exits import Exit
from agent.core.errors import HostTrouble

log = logging.getLogger(__name__)


def run(arguments: Namespace) -> int:
    """Read the settings, log in, work until asked to stop."""
    loaded = read(arguments)
    settings = loaded.settings
    account = account_of(settings)
    shape = format_for(sys.stderr, os.environ, json_lines=arguments.json_logs)
    set_up_logging(shape, settings.log_level, secrets_of(settings, account))
    log.info(f"decode-agent {__version__} works for {settings.api_url}.")
    for warning in loaded.warnings:
        log.warning(f"{warning}.")
    connection = connect(settings, account)
    with connection.api:
        try:
            log_in(connection.tokens)
        except HostTrouble as trouble:
            log.warning(f"Not logged in yet: {trouble}.")
        run_agent(settings, connection, arguments)
    return Exit.OK
