"""The one place where what docker-py and its libraries raise becomes ours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException

import requests
from docker.errors import APIError, DockerException, InvalidRepository, StreamParseError
from urllib3.exceptions import HTTPError

from agent.core import engine_faults as faults
from agent.core.errors import AgentError, EngineTrouble
from agent.core.stopping import Stop

FOREIGN = (DockerException, StreamParseError, HTTPError, HTTPException, OSError, ValueError)

Judge = Callable[[str], AgentError]


@contextmanager
def translated(doing: str, judge: Judge | None = None, stop: Stop | None = None) -> Iterator[None]:
    """The one place where foreign errors become ours; `judge` says what the engine's refusals mean."""
    try:
        yield
    except FOREIGN as error:
        if stop is not None:
            stop.check()
        raise _fault_of(error, doing, judge or partial(faults.engine_fault, doing)) from error


def _fault_of(error: Exception, doing: str, judge: Judge) -> AgentError:
    match error:
        case APIError() | InvalidRepository():
            return judge(str(getattr(error, "explanation", None) or error))
        case requests.Timeout() | TimeoutError():
            return EngineTrouble(f"Docker did not answer in time ({doing})")
        case _:
            return EngineTrouble(f"Docker cannot be reached ({doing}): {faults.cause_of(error)}")
