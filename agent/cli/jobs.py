"""`decode-agent jobs`: what ran on this machine."""

import sys
import time
from argparse import Namespace

from agent.adapters.journal_reading import read_history
from agent.cli.exits import Exit
from agent.cli.service import client_for, say_down, width_of_terminal
from agent.core.control_api import json_of
from agent.core.errors import DiskTrouble, ServiceDown
from agent.core.overview import jobs_table


def jobs(arguments: Namespace) -> int:
    """Print the last jobs that are over; where the service is down they are read from its journal."""
    try:
        past = client_for(arguments).history(arguments.limit)
    except ServiceDown as down:
        try:
            past = read_history(arguments.state_dir / "agent.db", arguments.limit)
        except DiskTrouble as trouble:
            code = say_down(down, arguments)
            print(f"  the journal of past jobs needs root: {trouble}", file=sys.stderr)
            return code
        print(f"decode-agent: {down}; this is from its journal", file=sys.stderr)
    if arguments.json:
        print(json_of(past).decode(), end="")
    elif past:
        print("\n".join(jobs_table(past, time.time(), width_of_terminal())))
    else:
        print("No job has ended on this machine yet.")
    return Exit.OK
