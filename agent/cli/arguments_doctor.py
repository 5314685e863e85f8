"""What can be written behind `doctor`."""

from agent.cli.options import Commands


def add(commands: Commands) -> None:
    """Add the commands."""
