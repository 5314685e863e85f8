"""The timer thread: it tells the API that our jobs live, and hears from it which are ours no more.

One thread serves all jobs, one `Pulse` each. It sleeps until the next pulse is due or a job's word changes.
"""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from agent.core.errors import ApiTrouble, HostTrouble, JobGone
from agent.core.health import BEAT_LIMIT_S, SignOfLife
from agent.core.joblog import JobLog
from agent.core.models import Word
from agent.core.stopping import Stop
from agent.ports import JobApi

log = logging.getLogger(__name__)

RETRY_S = 10.0
"""After a failed beat the next one comes this soon: the API gives a silent job away after 300 s."""

RETRY_MAX_S = 60.0
"""The API may ask for a longer pause than `RETRY_S`, but no longer one: its own 300 s go on."""

ASK_AFTER_ERRORS = 2
"""For a deleted job the first PUT gets 404 and all later ones 500: so many 5xx, and the state is asked."""

NOTE_EVERY_S = 60.0

_SERVER_ERROR = 500


class Pulse:
    """One job's sign of life. `gone` sets once for all that the job is not ours any more.

    With `asks_first` the API is asked before the first beat whether the job is over: a journal that lost its
    end does not know of its verdict, and a beat after that would bring the job back to life.
    """

    def __init__(
        self, job_id: int, word: Word | None, api: JobApi, interval_s: float, *, asks_first: bool = False
    ) -> None:
        self.job_id = job_id
        self.gone = Stop()
        self.due_at = 0.0
        self._word = word
        self._api = api
        self._interval_s = interval_s
        self._asks_first = asks_first
        self._log = JobLog(log, job_id)
        self._errors = 0
        self._sending = threading.Lock()
        self._settled = threading.Event()

    def change(self, word: Word | None) -> bool:
        """Say this word from now on; True if it is a new one. Does not wait for a beat in flight."""
        is_new = word is not None and word is not self._word
        self._word = word
        if is_new:
            self.due_at = 0.0
        return is_new

    def end(self) -> None:
        """Fall silent: when this returns no beat is in flight and none will be sent."""
        self._word = None
        with self._sending:
            self.due_at = float("inf")

    def beat(self, now: float) -> None:
        """Send one sign of life and note when the next is due; nothing once ended or gone."""
        with self._sending:
            self.due_at = now + min(self._interval_s, RETRY_S)  # before the word is read: it may change
            word = self._word
            if word is None or self.gone.is_set():
                self.due_at = float("inf")
                return
            try:
                self._check_is_not_over()
                self._api.say(self.job_id, word)
            except JobGone:
                self._mark_gone()
            except HostTrouble as trouble:
                if isinstance(trouble, ApiTrouble) and trouble.status:
                    self.due_at = max(self.due_at, now + min(trouble.retry_after_s or 0.0, RETRY_MAX_S))
                self._note_trouble(trouble)
            else:
                self._note_success(now, word)

    def _check_is_not_over(self) -> None:
        """`error` is no proof: the API says that too, of a job that it has not heard of for too long."""
        if self._asks_first and self._api.status(self.job_id) is Word.FINISHED:
            raise JobGone("its verdict has been said")
        self._asks_first = False

    def ask(self) -> None:
        """Ask the API for the job's state, because it answered 5xx; raises nothing."""
        try:
            self._api.status(self.job_id)
        except JobGone:
            self._mark_gone()
        except HostTrouble as trouble:
            self._log.debug("Its state at the API is unknown: %s", trouble)

    def wait_confirmed(self, stop: Stop, note: Callable[[], None] = lambda: None) -> None:
        """Wait until the API has accepted a beat, that is, called the job ours. Raises `Stopped`.

        `note` is called now and then, as a sign that the waiting thread lives.
        """
        with stop.attach(self._settled.set):
            while not self._settled.wait(NOTE_EVERY_S):
                note()
        stop.check()

    def pace(self, interval_s: float) -> None:
        """Beat so often from now on."""
        self._interval_s = interval_s
        self.due_at = min(self.due_at, monotonic() + interval_s)

    def _note_success(self, now: float, word: Word) -> None:
        if self._errors:
            self._log.info("The API hears us again.")
        self._errors = 0
        self._settled.set()
        if word is self._word:
            self.due_at = now + self._interval_s

    def _note_trouble(self, trouble: HostTrouble) -> None:
        if not self._errors:
            self._log.warning("The keep-alive failed: %s", trouble)
        self._errors += 1
        is_server_error = isinstance(trouble, ApiTrouble) and (trouble.status or 0) >= _SERVER_ERROR
        if is_server_error and self._errors >= ASK_AFTER_ERRORS:
            self.ask()

    def _mark_gone(self) -> None:
        self.due_at = float("inf")
        self.gone.set()


class Heartbeat:
    """The thread and its pulses; `start` it before recovery, `stop` it after the last runner."""

    def __init__(self, api: JobApi, interval_s: float) -> None:
        self._api = api
        self._interval_s = interval_s
        self._pulses: dict[int, Pulse] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._is_beating = False
        self._seen_at = monotonic()
        self._thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread; waits so long at most for a beat that is in flight."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def pace(self, interval_s: float) -> None:
        """Let every pulse beat so often from now on."""
        with self._changed:
            self._interval_s = interval_s
            for pulse in self._pulses.values():
                pulse.pace(interval_s)
            self._wake()

    def sign(self) -> SignOfLife:
        """When the thread was last heard of; while it sleeps that counts from the moment a beat is due.

        Life is noted with each beat, not each round: many jobs may each wait for an API that is slow.
        """
        with self._changed:
            due_at = min((pulse.due_at for pulse in self._pulses.values()), default=float("inf"))
            seen_at = self._seen_at if self._is_beating else max(self._seen_at, due_at)
        if not self._thread.is_alive():
            return SignOfLife(self._thread.name, self._seen_at, 0.0, "it should run: it has ended")
        return SignOfLife(self._thread.name, seen_at, BEAT_LIMIT_S, "telling the API that jobs live")

    def add(self, job_id: int, word: Word | None, *, asks_first: bool = False) -> Pulse:
        """A pulse for this job, its first beat at once."""
        pulse = Pulse(job_id, word, self._api, self._interval_s, asks_first=asks_first)
        with self._changed:
            self._pulses[job_id] = pulse
            self._wake()
        return pulse

    def remove(self, pulse: Pulse) -> None:
        """End the pulse and forget it."""
        pulse.end()
        with self._changed:
            self._pulses.pop(pulse.job_id, None)

    def say(self, pulse: Pulse, word: Word | None) -> None:
        """Change the pulse's word; a new one is said at once."""
        if pulse.change(word):
            with self._changed:
                self._wake()

    def beat_all_due(self, now: float) -> None:
        """Beat every pulse that is due."""
        with self._changed:
            pulses = list(self._pulses.values())
        for pulse in pulses:
            if pulse.due_at > now:
                continue
            self._seen_at = monotonic()
            self._is_beating = True
            try:
                pulse.beat(now)
            except Exception:
                log.exception("A keep-alive failed in a way nobody thought of; the others go on.")
            finally:
                self._seen_at = monotonic()
                self._is_beating = False

    def _wake(self) -> None:
        if not self._is_beating:
            self._seen_at = monotonic()  # what is due since long was asked for only now
        self._changed.notify()

    def _loop(self) -> None:
        while not self._stopping:
            self.beat_all_due(monotonic())
            with self._changed:
                next_at = min((pulse.due_at for pulse in self._pulses.values()), default=float("inf"))
                wait_s = next_at - monotonic()
                if wait_s > 0 and not self._stopping:
                    self._changed.wait(min(wait_s, threading.TIMEOUT_MAX))
