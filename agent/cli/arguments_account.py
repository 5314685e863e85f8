"""What can be written behind `login`, `logout`, `whoami`."""

from agent.cli.options import Commands


def add(commands: Commands) -> None:
    """Add the commands."""
