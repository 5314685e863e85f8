"""What can be written behind the commands that talk to the running service."""

from agent.cli.options import Commands


def add(commands: Commands) -> None:
    """Add the commands."""
