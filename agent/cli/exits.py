"""The exit codes of `decode-agent`."""

from enum import IntEnum


class Exit(IntEnum):
    """What the command's end means; systemd does not restart the service on CONFIG and DRAINED."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DOWN = 3
    DEGRADED = 4
    UNCONFIRMED = 77
    CONFIG = 78
    DRAINED = 79
    INTERRUPTED = 130
