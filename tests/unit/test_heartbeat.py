"""The keep-alive: silent once ended, deaf to nothing, gone once and for all."""

import threading
from time import monotonic

import pytest

from agent.core.errors import ApiTrouble, Stopped
from agent.core.health import late_of
from agent.core.models import Word
from agent.core.stopping import Stop
from agent.heartbeat import RETRY_MAX_S, RETRY_S, Heartbeat, Pulse
from tests.fakes.api import FakeApi
from tests.fakes.waiting import LONG_S, wait_until


class BadDay(FakeApi):
    """Answers the next `bad` PUTs, and with `is_away` every question, with 500 and no effect."""

    bad = 0
    is_away = False

    def say(self, job_id, word, details=""):
        if self.bad:
            self.bad -= 1
            raise ApiTrouble("500", status=500)
        super().say(job_id, word, details)

    def status(self, job_id):
        if self.is_away:
            raise ApiTrouble("500", status=500)
        return super().status(job_id)


@pytest.fixture
def api():
    return BadDay(states={7: Word.PULLED})


@pytest.fixture
def pulse(api):
    return Pulse(7, Word.PREPROCESSING, api, 30.0)


def words(api):
    return [word for _, word, _ in api.said]


def test_a_beat_says_the_word_and_is_due_again_after_the_interval(api, pulse):
    """One PUT, and the next one TIMEOUT_STATUS later."""
    pulse.beat(100.0)
    assert words(api) == ["preprocessing"]
    assert pulse.due_at == 130.0


def test_a_new_word_is_due_at_once(pulse):
    """The user sees `running` when it runs, not half a minute later."""
    pulse.beat(100.0)
    assert pulse.change(Word.RUNNING)
    assert pulse.due_at == 0.0
    assert not pulse.change(Word.RUNNING)


def test_nothing_is_said_after_the_end(api, pulse):
    """A late `running` would bring a finished job back to life."""
    pulse.end()
    pulse.beat(100.0)
    assert api.said == []
    assert pulse.due_at == float("inf")


def test_end_waits_for_the_beat_in_flight(pulse, api, monkeypatch):
    """When `end` returns no beat is in flight."""
    in_flight, go_on = threading.Event(), threading.Event()

    def slow(*_):
        in_flight.set()
        assert go_on.wait(30)

    monkeypatch.setattr(api, "say", slow)
    beat = threading.Thread(target=pulse.beat, args=(0.0,))
    beat.start()
    assert in_flight.wait(30)
    end = threading.Thread(target=pulse.end)
    end.start()
    end.join(0.2)
    assert end.is_alive()
    go_on.set()
    end.join(30)
    beat.join(30)
    assert not end.is_alive()


def test_404_is_sticky(api, pulse):
    """After one 404 not another word."""
    api.deleted.add(7)
    pulse.beat(0.0)
    api.deleted.clear()
    pulse.beat(1000.0)
    pulse.change(Word.RUNNING)
    pulse.beat(2000.0)
    assert pulse.gone.is_set()
    assert api.said == []


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (Word.FINISHED, []),  # a journal that lost its end: a beat would bring the job back to life
        (Word.ERROR, [Word.RUNNING] * 2),  # the API says that too, of a job that it has not heard of
        (Word.QUEUED, [Word.RUNNING] * 2),  # timed out, and ours until somebody else claims it
    ],
)
def test_a_job_from_the_journal_is_asked_for_first(api, state, said):
    """Nothing is said about a job that has its verdict; the others are asked for once."""
    api.states[7] = state
    pulse = Pulse(7, Word.RUNNING, api, 30.0, asks_first=True)
    pulse.beat(0.0)
    api.states[7] = Word.FINISHED
    pulse.beat(30.0)
    assert words(api) == said
    assert pulse.gone.is_set() is (state is Word.FINISHED)


def test_asking_first_is_tried_until_it_is_answered(api):
    """No beat goes out unasked because the question failed."""
    api.states[7] = Word.FINISHED
    pulse = Pulse(7, Word.RUNNING, api, 30.0, asks_first=True)
    api.is_away = True
    pulse.beat(0.0)
    assert not pulse.gone.is_set()
    assert pulse.due_at == RETRY_S
    api.is_away = False
    pulse.beat(10.0)
    assert words(api) == []
    assert pulse.gone.is_set()


def test_repeated_500_asks_for_the_state(api, pulse):
    """A deleted job answers 404 to the first PUT only; if that answer was lost, GET status knows."""
    api.deleted.add(7)
    api.bad = 2
    pulse.beat(0.0)
    assert not pulse.gone.is_set()
    pulse.beat(10.0)
    assert pulse.gone.is_set()


def test_500_on_a_living_job_is_survived(api, pulse):
    """Three bad answers in a row, sooner tries, then the rhythm again."""
    api.bad = 3
    for now in (0.0, 10.0, 20.0):
        pulse.beat(now)
        assert pulse.due_at == now + RETRY_S
    pulse.beat(30.0)
    assert words(api) == ["preprocessing"]
    assert pulse.due_at == 60.0


def test_the_thread_beats_and_hears_of_new_words(api):
    """First beat at once, a changed word at once, then it sleeps."""
    heartbeat = Heartbeat(api, 30.0)
    heartbeat.start()
    pulse = heartbeat.add(7, Word.PREPROCESSING)
    wait_until(lambda: words(api) == ["preprocessing"])
    heartbeat.say(pulse, Word.RUNNING)
    wait_until(lambda: words(api) == ["preprocessing", "running"])
    heartbeat.remove(pulse)
    heartbeat.stop()
    assert words(api) == ["preprocessing", "running"]


def test_the_thread_survives_what_nobody_thought_of(api, caplog):
    """A bug in one beat is logged and does not silence the others."""
    broken = Pulse(8, Word.RUNNING, None, 30.0)
    heartbeat = Heartbeat(api, 0.05)
    heartbeat._pulses[8] = broken
    heartbeat.start()
    heartbeat.add(7, Word.RUNNING)
    wait_until(lambda: len(api.said) >= 2)
    heartbeat.stop()
    assert "nobody thought of" in caplog.text


def test_stopping_does_not_wait_for_an_api_that_hangs(api, monkeypatch):
    """A stop is quick; the beat in flight dies with the process."""
    in_flight, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(api, "say", lambda *_: (in_flight.set(), go_on.wait(30)))
    heartbeat = Heartbeat(api, 30.0)
    heartbeat.start()
    heartbeat.add(7, Word.RUNNING)
    assert in_flight.wait(30)
    heartbeat.stop(timeout_s=0.1)
    assert heartbeat._thread.is_alive()
    go_on.set()
    heartbeat._thread.join(30)
    assert not heartbeat._thread.is_alive()


def test_waiting_for_ownership_ends_with_a_stop(pulse):
    """A stopping agent does not hang on an API that is away."""
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        pulse.wait_confirmed(stop)


def test_waiting_for_ownership_ends_with_the_first_accepted_beat(pulse):
    """Work goes on once the API has called the job ours."""
    pulse.beat(0.0)
    pulse.wait_confirmed(Stop())


def test_a_heartbeat_with_nothing_to_say_is_well(api):
    """It sleeps for ever, and that is right; also once a job is there and its beat was sent."""
    heartbeat = Heartbeat(api, 30.0)
    heartbeat.start()
    assert heartbeat.sign().seen_at == float("inf")
    heartbeat._seen_at -= 1e6
    heartbeat.add(7, Word.RUNNING)
    assert heartbeat.sign().seen_at > monotonic() - LONG_S
    wait_until(lambda: words(api))
    wait_until(lambda: heartbeat.sign().seen_at > monotonic())
    heartbeat.stop()


def test_a_beat_that_is_due_and_not_sent_is_seen(api, monkeypatch):
    """The thread sleeps through it: its silence counts from the moment the beat was due."""
    heartbeat = Heartbeat(api, 30.0)
    monkeypatch.setattr(heartbeat._thread, "is_alive", lambda: True)
    pulse = heartbeat.add(7, Word.RUNNING)
    pulse.due_at = 500.0
    heartbeat._seen_at = 100.0
    assert heartbeat.sign().seen_at == 500.0


def test_life_is_noted_with_each_beat(api, monkeypatch):
    """Many jobs may each wait for an API that is slow; the round as a whole may take long."""
    heartbeat = Heartbeat(api, 30.0)
    seen = []

    def say(*_):
        assert heartbeat._is_beating
        seen.append(heartbeat._seen_at)
        heartbeat._seen_at = 0.0

    monkeypatch.setattr(api, "say", say)
    for job_id in (7, 8):
        heartbeat.add(job_id, Word.RUNNING)
    heartbeat._seen_at = 0.0
    heartbeat.beat_all_due(100.0)
    assert len(seen) == 2
    assert all(seen)
    assert heartbeat._seen_at
    assert not heartbeat._is_beating


def test_a_heartbeat_that_ended_is_late(api):
    """Whatever it said last."""
    sign = Heartbeat(api, 30.0).sign()
    assert late_of([sign], monotonic() + 1)


def test_another_pace_counts_at_once(api, pulse):
    """A shorter interval does not wait for the end of the longer one."""
    pulse.beat(monotonic())
    pulse.pace(5.0)
    assert pulse.due_at <= monotonic() + 5.0
    heartbeat = Heartbeat(api, 30.0)
    beating = heartbeat.add(7, Word.RUNNING)
    beating.beat(monotonic())
    heartbeat.pace(2.0)
    assert beating.due_at <= monotonic() + 2.0


def test_who_waits_for_ownership_shows_that_he_lives(pulse, monkeypatch):
    """An API that is away for hours is no reason for a restart."""
    monkeypatch.setattr("agent.heartbeat.NOTE_EVERY_S", 0.01)
    notes = []
    stop = Stop()

    def note():
        notes.append(True)
        if len(notes) == 3:
            stop.set()

    with pytest.raises(Stopped):
        pulse.wait_confirmed(stop, note)
    assert len(notes) == 3


@pytest.mark.parametrize(
    ("asked_s", "due_s"), [(None, RETRY_S), (3.0, RETRY_S), (25.0, 25.0), (3600.0, RETRY_MAX_S)]
)
def test_the_api_may_ask_for_a_pause(api, pulse, asked_s, due_s, monkeypatch):
    """429: all that ask again at once would keep it down; but five minutes of silence cost the job."""

    def busy(*_):
        raise ApiTrouble("429", status=429, retry_after_s=asked_s)

    monkeypatch.setattr(api, "say", busy)
    pulse.beat(100.0)
    assert pulse.due_at == 100.0 + due_s


def test_a_new_word_that_failed_waits_for_the_pause_too(api, pulse, monkeypatch):
    """The word is said when the pause is over."""

    def busy(*_):
        raise ApiTrouble("503", status=503, retry_after_s=25.0)

    with monkeypatch.context() as patch:
        patch.setattr(api, "say", busy)
        pulse.beat(100.0)
    assert pulse.due_at == 125.0
    pulse.beat(125.0)
    assert words(api) == ["preprocessing"]
