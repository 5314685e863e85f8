"""The machine goes down: outputs on their way out get a moment, for the network still works."""

import logging
from collections.abc import Callable, Collection
from time import monotonic

from agent.crew import Crew
from agent.station import Station
from agent.wakeup import WakeUp

log = logging.getLogger(__name__)

DELIVERY_S = 30.0
"""So long may uploads hold up a shutdown; what they do not get done is done after the boot."""

STOP_S = 30.0
_LOOK_S = 0.5


def let_deliver(
    crew: Crew, station: Station, wake: WakeUp, stops: Collection[int], feed: Callable[[], None]
) -> None:
    """Wait for jobs that deliver, if the whole machine goes down; one more of the signals `stops` ends it."""
    if not crew.is_delivering() or not station.is_going_down():
        return
    log.info("The machine goes down: outputs on their way out get %.0f s.", DELIVERY_S)
    station.service.stopping()
    station.service.status("The machine goes down; waiting for an upload")
    station.service.extend(DELIVERY_S + STOP_S)
    deadline = monotonic() + DELIVERY_S
    while crew.is_delivering() and monotonic() < deadline:
        if not wake.sleep(_LOOK_S).isdisjoint(stops):
            return
        feed()
