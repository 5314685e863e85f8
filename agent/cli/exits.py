"""The exit codes of `decode-agent`."""

from enum import IntEnum


class Exit(IntEnum):
    """What the command's end means; systemd does not restart the service on CONFIG."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 78
    INTERRUPTED = 130
