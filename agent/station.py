"""Who started the agent and what is told of it, what the settings say anew, and why it ended."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from agent.core.models import Slot
from agent.core.resting import TEST_PACE
from agent.core.retry import Backoff
from agent.heard import HeardApi
from agent.looking import Options
from agent.ports_host import SelfTest, ServiceManager
from agent.toolbox import Policy


class Ending(Enum):
    """Why the agent ended: it was asked to stop or had done what it was started for; or it was drained."""

    STOPPED = "stopped"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class Renewed:
    """What the settings say now, and a sentence for each change."""

    options: Options
    policy: Policy
    slots: tuple[Slot, ...]
    beat_s: float
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Station:
    """Who started the agent, and what is told of it.

    `reread` reads the settings again, raising `ConfigError`. `hangup_stops`: SIGHUP is a terminal's end.
    `is_going_down`: the stop is the machine's, not the service's alone.
    `self_test` proves that a slot can run jobs again, `test_pace` says how long it is waited for.
    """

    service: ServiceManager
    heard: HeardApi
    reread: Callable[[], Renewed]
    version: str = ""
    api_url: str = ""
    account: str = ""
    free_bytes: Callable[[], int | None] = lambda: None
    hangup_stops: bool = False
    is_going_down: Callable[[], bool] = lambda: False
    self_test: SelfTest = lambda _slot: None
    test_pace: Backoff = TEST_PACE


def ended_line(ending: Ending, left_jobs: int) -> str:
    """What stands in `systemctl status` of a service that has ended."""
    match ending:
        case Ending.DRAINED:
            return "Drained and ended; the next start takes jobs again"
        case Ending.STOPPED if left_jobs:
            return "Stopped; containers run on, the next start goes on with their jobs"
        case Ending.STOPPED:
            return "Stopped"
