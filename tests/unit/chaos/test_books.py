"""The books of a chaos run find each kind of loss: they are fed doctored ones."""

from dataclasses import replace

import pytest

from mock_api.job import StatusChange
from mock_api.requestlog import LoggedRequest
from mock_api.specs import JobState
from tests.chaos.books import (
    WORKER,
    Account,
    JobBook,
    StormBook,
    account_of,
    check_job,
    check_leftovers,
    check_lives,
)
from tests.chaos.facts import Fallen, Life, Run
from tests.chaos.jobs import Expected
from tests.chaos.plan import BlowKind

SINCE_EVER = (Life(0.0),)
CALM = StormBook((), (Life(0.0),))
OTHER = "worker2@example.com"


def said(*words, account=WORKER, at=100.0):
    """Entries of a history, a second apart."""
    return tuple(StatusChange(at + n, JobState(word), account) for n, word in enumerate(words))


def put(word, at, *, status=204, fault=None, method="PUT", path="status"):
    target = f"/jobs/7/{path}" + (f"?status={word}" if word else "")
    return LoggedRequest(at, method, target, WORKER, True, False, status, fault)


WORDS = ("pulled", "preprocessing", "running", "postprocessing", "finished")
GOOD = JobBook(
    job_id="7",
    name="storm0-job0",
    expected=Expected(0, "", {"output/data/in": "abc"}),
    history=said(*WORDS),
    details="",
    runs=(Run("aaa", 102.0, 102.5),),
    requests=tuple(put(word, 100.0 + n) for n, word in enumerate(WORDS) if n),
    outputs={"output/data/in": "abc"},
    mails=1,
    deleted=False,
    claimed_at=100.0,
)
FAILED = replace(
    GOOD,
    expected=Expected(3, "exit code 3", GOOD.outputs),
    history=said(*WORDS[:-1], "error"),
    details="exit code 3\nend of the log:\n",
)
KILLED = replace(FAILED, runs=(Run("aaa", 102.0),), details="exit code 137: killed", outputs={})
RETURNED = replace(
    GOOD,
    history=(*said("pulled", "running", "queued"), *said("pulled", "finished", account=OTHER, at=110.0)),
    details="its owner wants the machine",
    requests=(put("running", 101.0), put("queued", 102.0)),
)


def storm(*fallen, lives=SINCE_EVER, **more):
    return StormBook(fallen, lives, **more)


def found(book, during=CALM):
    return "; ".join(check_job(book, during))


@pytest.mark.parametrize(
    ("book", "during", "account"),
    [
        (GOOD, CALM, Account.FINISHED),
        (FAILED, CALM, Account.FAILED),
        (KILLED, storm(Fallen(BlowKind.KILL_CONTAINER, 102.2, 102.2, "aaa")), Account.KILLED),
        (RETURNED, storm(Fallen(BlowKind.RELEASE, 101.5, 101.5, "7")), Account.RETURNED),
        (RETURNED, storm(Fallen(BlowKind.KILL_ENGINE, 101.5, 101.9)), Account.RETURNED),
        (replace(GOOD, deleted=True, history=said(*WORDS[:2]), mails=0, runs=()), CALM, Account.DELETED),
    ],
)
def test_balanced_books(book, during, account):
    """What is right is not called wrong."""
    assert found(book, during) == ""
    assert account_of(book, during) is account


@pytest.mark.parametrize(
    ("book", "sentence"),
    [
        (replace(GOOD, history=said(*WORDS[:-1]), mails=0), "has no verdict"),
        (replace(GOOD, history=said("pulled", "running"), mails=0), "was left at running: lost"),
        (replace(GOOD, mails=2), "1 verdicts and 2 mails"),
        (replace(GOOD, history=said(*WORDS, "finished"), mails=2), "2 verdicts"),
        (replace(GOOD, history=said(*WORDS, "running")), "said after its verdict: running"),
        (replace(GOOD, runs=()), "though it never ran"),
        (replace(GOOD, runs=(Run("aaa", 102.0),)), "did not come to its end"),
        (replace(GOOD, outputs={}), "1 outputs missing"),
        (replace(GOOD, outputs={"output/data/in": "abd"}), "not what the job wrote"),
        (replace(GOOD, outputs={**GOOD.outputs, "output/x": "1"}), "1 outputs too many"),
        (replace(FAILED, outputs={}), "1 outputs missing"),
        (replace(FAILED, details="exit code 4"), "in place of error (exit code 3)"),
        (replace(FAILED, history=GOOD.history, details=""), "finished () in place of error"),
        (KILLED, "error (exit code 137: killed), though its last run did not come to its end"),
        (RETURNED, "though nothing was wrong with the machine"),
        (replace(RETURNED, details=""), "without a reason"),
        (
            replace(GOOD, history=(*said("pulled"), *said("pulled", "finished", account=OTHER))),
            "never spoken of",
        ),
        (replace(GOOD, runs=(Run("aaa", 102.0, 102.5), Run("bbb", 103.0, 103.5))), "to its end, and again"),
        (replace(GOOD, runs=(Run("aaa", 102.0), Run("bbb", 103.0, 103.5))), "nothing had ended"),
        (
            replace(GOOD, requests=(*GOOD.requests, put("running", 105.0))),
            "after its verdict: PUT /jobs/7/status?status=running",
        ),
        (
            replace(GOOD, requests=(put("running", 101.0, status=404), put("running", 104.0, status=500))),
            "after a 404: PUT",
        ),
    ],
)
def test_each_loss_is_found(book, sentence):
    """In calm weather every one of these is a violation."""
    assert sentence in found(book)


def test_a_verdict_that_is_asked_for_is_no_speech():
    """Who does not know whether his verdict arrived asks, and says it no second time."""
    asked = put("", 105.0, status=200, method="GET")
    assert found(replace(GOOD, requests=(*GOOD.requests, asked))) == ""


def test_a_proxys_404_is_no_news():
    """A struck request says nothing about the job."""
    struck = put("running", 101.0, status=404, fault="fault-1")
    assert found(replace(GOOD, requests=(struck, *GOOD.requests))) == ""


def test_a_later_life_may_ask_once_more():
    """The agent that heard the 404 died with it; what it may do is ask, not upload."""
    died = storm(lives=(Life(0.0, 102.0, "SIGKILL"), Life(102.5)))
    heard = put("running", 101.0, status=404)
    asks = replace(GOOD, requests=(heard, put("running", 105.0, status=404)))
    uploads = replace(GOOD, requests=(heard, put("", 105.0, method="POST", path="files/url")))
    assert "after a 404" in found(asks)
    assert "after a 404" not in found(asks, died)
    assert "after a 404: POST" in found(uploads, died)


@pytest.mark.parametrize("kind", [BlowKind.KILL_AGENT, BlowKind.FREEZE_ENGINE, BlowKind.API_500])
def test_what_ends_no_container_excuses_no_second_run(kind):
    """An agent that was killed adopts its container."""
    twice = replace(GOOD, runs=(Run("aaa", 102.0), Run("bbb", 103.0, 103.5)))
    assert "nothing had ended" in found(twice, storm(Fallen(kind, 101.0, 104.0)))


def test_an_end_that_was_seen_is_not_repeated():
    """Dockerd's restart excuses a second run only around the end of the first."""
    twice = replace(GOOD, runs=(Run("aaa", 102.0, 110.0), Run("bbb", 140.0, 141.0)))
    assert found(twice, storm(Fallen(BlowKind.KILL_ENGINE, 109.0, 111.0))) == ""
    assert "to its end, and again" in found(twice, storm(Fallen(BlowKind.KILL_ENGINE, 130.0, 131.0)))


def test_a_claim_is_lost_by_a_death_or_a_struck_answer_only():
    """The API counts the job as ours, and nobody here knows of it."""
    lost = replace(
        GOOD,
        history=(*said("pulled"), *said("pulled", "finished", account=OTHER)),
        runs=(),
        requests=(),
        outputs={},
    )
    claim = LoggedRequest(100.2, "GET", "/jobs?memory=1", WORKER, True, False, None, "fault-3")
    assert found(lost, storm(claims=(claim,))) == ""
    assert found(lost, storm(lives=(Life(0.0, 100.5, "SIGKILL"), Life(101.0)))) == ""
    assert "never spoken of" in found(lost, storm(claims=(replace(claim, fault=None),)))


def test_memory_that_ran_out_unseen():
    """The reason may be lost with the agent that watched, never in calm weather."""
    book = replace(
        FAILED,
        expected=Expected(137, "killed: out of memory (limit 64 MiB)", GOOD.outputs),
        details="exit code 137: killed",
    )
    assert "in place of" in found(book)
    assert found(book, storm(lives=(Life(0.0, 102.2, "SIGKILL"), Life(103.0)))) == ""


def test_leftovers_and_lives():
    """Nothing may be left, and nobody may die by himself."""
    assert check_leftovers({"rows": [], "containers": ["decode-job-7 Exited"]}) == [
        "left over, containers: decode-job-7 Exited"
    ]
    assert check_lives([Life(0.0, 1.0, "SIGKILL"), Life(1.0, 2.0, "SIGTERM"), Life(2.0)]) == []
    assert check_lives([Life(0.0, 1.0, "by itself, with 1")]) == ["the agent ended by itself, with 1"]
