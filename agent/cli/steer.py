"""`decode-agent pause`, `resume`, `drain` and `reload`: what the machine's owner asks of the service."""

import sys
import time
from argparse import Namespace
from collections.abc import Sequence

from agent.adapters.control_client import ControlClient
from agent.cli.exits import Exit
from agent.cli.service import client_for, is_coming_back, say_down, width_of_terminal
from agent.core.errors import ServiceDown, ServiceTrouble
from agent.core.overview import doing_text
from agent.core.service_down import START
from agent.core.status import AgentStatus, JobStatus, Mode

RELOAD_S = 130.0  # the agent may be in the middle of a question to the API
_LOOK_S = 1.0
_AWAY_S = 60.0  # a restart takes RestartSec and the start; the drain goes on after it
_STAYS = "the drain stays in effect; `decode-agent resume` takes it back"


def pause(arguments: Namespace) -> int:
    """Take no further job."""
    return _steer(arguments, Mode.PAUSED, "Paused: no further job is taken until `decode-agent resume`.")


def resume(arguments: Namespace) -> int:
    """Take jobs again."""
    return _steer(arguments, Mode.TAKING, "Jobs are taken again.")


def _steer(arguments: Namespace, mode: Mode, done: str) -> int:
    client = client_for(arguments)
    try:
        client.steer(mode)
        jobs = client.status().jobs
    except ServiceDown as down:
        return say_down(down, arguments)
    print(done)
    if jobs and mode is not Mode.TAKING:
        print(f"{_names_of(jobs)} under way; not touched.")
    return Exit.OK


def drain(arguments: Namespace) -> int:
    """Take no further job, wait until none runs, with `--exit` until the service has ended."""
    client = client_for(arguments)
    mode = Mode.LEAVING if arguments.exit else Mode.DRAINING
    try:
        client.steer(mode)
    except ServiceDown as down:
        return say_down(down, arguments)
    print("No further job is taken.", flush=True)
    if arguments.no_wait:
        return Exit.OK
    try:
        return _Wait(arguments, client, mode).run()
    except KeyboardInterrupt:
        print(f"\ndecode-agent: not waiting any longer; {_STAYS}", file=sys.stderr)
        return Exit.INTERRUPTED


class _Wait:
    """Looks again and again until the drain is over.

    That no job runs counts only after the gates were seen closed: until then the agent may be in the middle
    of a question for the next one.
    """

    def __init__(self, arguments: Namespace, client: ControlClient, mode: Mode) -> None:
        self._arguments = arguments
        self._client = client
        self._mode = mode
        self._line = Line()
        self._had_jobs = False
        self._is_closed = False
        self._unclear_since: float | None = None

    def run(self) -> int:
        while (code := self._look()) is None:
            time.sleep(_LOOK_S)
        return code

    def _look(self) -> int | None:
        try:
            status = self._client.status()
        except ServiceDown:
            return self._note_away()
        except ServiceTrouble:  # it broke off its answer because it ends, or hangs
            if not self._may_wait_on():
                raise
            return None
        if status.mode is self._mode:
            self._unclear_since = None
        # An agent that leaves says for a moment that it takes jobs: its next start does.
        elif self._mode is Mode.DRAINING or status.jobs or not self._may_wait_on():
            return self._line.end(f"somebody asked for something else meanwhile ({status.mode})", Exit.FAILED)
        self._had_jobs = bool(status.jobs)
        was_closed, self._is_closed = self._is_closed, bool(status.gates)
        if status.jobs:
            self._show(status)
        elif self._mode is Mode.DRAINING and was_closed:
            return self._line.end(
                "Drained: no job runs. Jobs are taken again after `decode-agent resume`.", Exit.OK
            )
        return None

    def _may_wait_on(self) -> bool:
        """Whether what was seen may still become clear by itself."""
        if self._unclear_since is None:
            self._unclear_since = time.monotonic()
        return time.monotonic() - self._unclear_since < _AWAY_S

    def _note_away(self) -> int | None:
        """Nobody listens: it has left, as asked for, or it restarts and goes on with the drain."""
        comes_back = is_coming_back(self._arguments)
        if self._mode is Mode.LEAVING and not comes_back:
            jobs = "" if self._had_jobs else "No job runs, "
            return self._line.end(f"{jobs}decode-agent has ended. To start it again: {START}", Exit.OK)
        self._line.show("decode-agent does not run just now; waiting for its restart")
        if comes_back is not False and self._may_wait_on():
            return None
        return self._line.end(f"decode-agent has ended and does not come back; {_STAYS}", Exit.DOWN)

    def _show(self, status: AgentStatus) -> None:
        now = time.time()
        if width_of_terminal() is None:
            self._line.show(f"{_names_of(status.jobs)} under way.")
        else:
            self._line.show("; ".join(f"job {job.job_id} {doing_text(job, now)}" for job in status.jobs))


def reload(arguments: Namespace) -> int:
    """Have the service read its settings again; `ConfigError` if they are wrong."""
    try:
        changes = client_for(arguments, RELOAD_S).reload()
    except ServiceDown as down:
        return say_down(down, arguments)
    print("\n".join(changes) if changes else "Nothing has changed.")
    return Exit.OK


def _names_of(jobs: Sequence[JobStatus]) -> str:
    return names_of([job.job_id for job in jobs])


def names_of(job_ids: Sequence[int]) -> str:
    """`Job 7 is`, `Jobs 7, 8 are`."""
    ids = ", ".join(map(str, job_ids))
    return f"Job {ids} is" if len(job_ids) == 1 else f"Jobs {ids} are"


class Line:
    """What is told while a command waits: one line that changes for a person, a line for each change else."""

    def __init__(self) -> None:
        self._shown = ""

    def show(self, text: str) -> None:
        """Show this now."""
        width = width_of_terminal()
        if width is not None:
            print(f"\r\x1b[K{text[: width - 1]}", end="", flush=True)
        elif text != self._shown:
            print(text, flush=True)
        self._shown = text

    def end(self, text: str, code: Exit) -> int:
        """The last line, in place of what was shown; the code."""
        if self._shown and width_of_terminal() is not None:
            print("\r\x1b[K", end="")
        print(
            text if code is Exit.OK else f"decode-agent: {text}",
            file=sys.stdout if code is Exit.OK else sys.stderr,
        )
        return code
