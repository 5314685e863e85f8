"""The queue without HTTP: who gets which job, and what the lack of guards lets happen."""

import threading

import pytest

from mock_api.accounts import Account
from mock_api.job import Offer
from mock_api.jobs import JobQueue, MalformedRow, NoSuchRow, NotYours
from mock_api.settings import Settings
from mock_api.specs import JobState, Submission

ONE = Account("one", "", ("workers",))
TWO = Account("two", "", ("workers",))
CLOUD = Account("sky", "", ("workers", "cloud"))
BIG = Offer(memory=100_000, cpu_cores=64, gpu_mem=100_000)


class Clock(Settings):
    """Settings whose time a test moves."""

    time = 1000.0

    def now(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    return JobQueue(clock, threading.RLock())


def submit(queue, job_id="1", **fields):
    submission = Submission(**fields)
    queue.add(job_id, submission, submission.build_spec(int(job_id), "2026-01-01"), {"output": "o"})


@pytest.mark.parametrize(
    ("needs", "offer", "fits"),
    [
        ({"memory": 100}, Offer(memory=100), True),
        ({"memory": 101}, Offer(memory=100), False),
        ({"memory": None}, Offer(memory=1), True),
        ({"cpu_cores": 2}, Offer(memory=1), False),
        ({"gpu_mem": 1}, Offer(memory=1), False),
        ({"gpu_mem": 1}, Offer(memory=1, gpu_mem=1), True),
        ({"gpu_model": "A"}, Offer(memory=1), False),
        ({"gpu_model": "A"}, Offer(memory=1, gpu_model="B"), False),
        ({"gpu_model": "A"}, Offer(memory=1, gpu_model="A"), True),
        ({"gpu_archi": "ampere"}, Offer(memory=1, gpu_archi="ampere"), True),
        ({"gpu_archi": "ampere"}, Offer(memory=1, gpu_model="ampere"), False),
        ({"group": "lab"}, Offer(memory=1), False),
        ({"group": "lab"}, Offer(memory=1, groups=("x", "lab")), True),
    ],
)
def test_only_a_job_that_fits_is_handed_out(queue, needs, offer, fits):
    """Memory, cores and GPU memory at least, model and architecture exactly, the group named."""
    submit(queue, **needs)
    assert bool(queue.claim(ONE, offer)) is fits


@pytest.mark.parametrize(
    ("environment", "account", "older_than_s", "comes"),
    [
        ("local", ONE, 999, True),
        ("local", CLOUD, 0, False),
        ("cloud", ONE, 0, False),
        ("cloud", CLOUD, 0, True),
        (None, ONE, 0, True),
        (None, ONE, 11, False),
        (None, ONE, 10, True),
        (None, CLOUD, 10, True),
    ],
)
def test_environment_decides_who_waits(queue, clock, environment, account, older_than_s, comes):
    """Local jobs come at once, cloud ones to cloud accounts, those without environment after `older_than`."""
    submit(queue, environment=environment)
    clock.time += 10
    assert bool(queue.claim(account, Offer(memory=1, older_than_s=older_than_s))) is comes


def test_priority_then_age(queue):
    """A higher priority comes first, within one the older job."""
    for job_id, priority in (("1", 1), ("2", 5), ("3", 5)):
        submit(queue, job_id, priority=priority)
    assert list(queue.claim(ONE, Offer(memory=1, limit=2))) == ["2", "3"]
    assert list(queue.claim(ONE, Offer(memory=1, limit=0))) == []
    assert list(queue.claim(ONE, Offer(memory=1, limit=9))) == ["1"]


def test_claiming_takes_the_job_out(queue):
    """A dequeue: the second question finds nothing, and the job is its claimer's."""
    submit(queue)
    assert queue.claim(ONE, BIG)
    assert queue.claim(ONE, BIG) == queue.claim(TWO, BIG) == {}
    assert (queue.get("1").status, queue.get("1").owner) == (JobState.pulled, "one")


def test_malformed_row_blocks_everyone_it_matches(queue):
    """It answers an error again and again, and the good job behind it is not reached."""
    submit(queue, "1", spec={"hardware": {"memory": 500}})
    submit(queue, "2")
    for account in (ONE, TWO, ONE):
        with pytest.raises(MalformedRow, match="validation errors for JobSpecs"):
            queue.claim(account, BIG)
    assert list(queue.claim(ONE, Offer(memory=499))) == ["2"]


def test_unchecked_row_is_served_word_for_word(queue):
    """Hostile specs reach the worker as they are."""
    submit(queue, spec={"app": 7}, unchecked=True)
    assert queue.claim(ONE, BIG) == {"1": {"app": 7}}


def test_any_word_may_follow_any_other(queue):
    """Nothing guards the transitions: running after finished brings the job back to life."""
    submit(queue)
    queue.claim(ONE, BIG)
    for word in (JobState.finished, JobState.running, JobState.error, JobState.finished):
        queue.put_status("1", ONE, word, None)
        assert queue.status_of("1") is word
    assert [mail.status for mail in queue.mails()] == ["finished", "error", "finished"]


def test_details_are_appended(queue):
    """Joined by newlines, each in the history of its PUT."""
    submit(queue)
    queue.claim(ONE, BIG)
    for details in ("a", None, "", "b\nc"):
        queue.put_status("1", ONE, JobState.running, details)
    job = queue.get("1")
    assert job.runtime_details == "a\nb\nc"
    assert job.statuses == ["queued", "pulled", "running"]
    assert len(job.history) == 6


def test_deleted_job_is_404_once_then_500(queue):
    """The queue learns of the deletion with the first PUT; until then it still says `pulled`."""
    submit(queue)
    queue.claim(ONE, BIG)
    assert queue.cancel("1")
    assert queue.status_of("1") is JobState.pulled
    with pytest.raises(NotYours):
        queue.put_status("1", ONE, JobState.running, None)
    with pytest.raises(NoSuchRow):
        queue.put_status("1", ONE, JobState.running, None)
    assert queue.status_of("1") is None
    with pytest.raises(NoSuchRow):
        queue.paths_for("1", ONE)


def test_nobody_is_mailed_about_a_deleted_job(queue):
    """What a worker says of it reaches no one."""
    submit(queue)
    queue.claim(ONE, BIG)
    queue.cancel("1")
    with pytest.raises(NotYours):
        queue.put_status("1", ONE, JobState.finished, "late")
    assert (queue.mails(), queue.get("1").runtime_details) == ([], "")


def test_strangers_are_turned_away(queue):
    """Another worker's job is a 404, one that never was a 500."""
    submit(queue)
    with pytest.raises(NotYours):
        queue.put_status("1", ONE, JobState.running, None)
    queue.claim(ONE, BIG)
    with pytest.raises(NotYours):
        queue.put_status("1", TWO, JobState.running, None)
    with pytest.raises(NoSuchRow):
        queue.put_status("99", ONE, JobState.running, None)


def test_job_given_back_goes_to_another_account(queue):
    """Never again to the one that had it, which owns it until the next claims it."""
    submit(queue)
    queue.claim(ONE, BIG)
    queue.put_status("1", ONE, JobState.queued, None)
    assert queue.claim(ONE, BIG) == {}
    queue.put_status("1", ONE, JobState.queued, None)
    assert queue.claim(TWO, BIG)
    with pytest.raises(NotYours):
        queue.put_status("1", ONE, JobState.running, None)


def test_retry_different_may_be_off(queue, clock):
    """Then the account that gave a job back gets it again."""
    clock.retry_different = False
    submit(queue)
    queue.claim(ONE, BIG)
    queue.put_status("1", ONE, JobState.queued, None)
    assert queue.claim(ONE, BIG)


def test_late_owner_may_go_on(queue, clock):
    """A job that timed out is its old owner's until another claims it."""
    submit(queue)
    queue.claim(ONE, BIG)
    clock.time += 300
    assert queue.status_of("1") is JobState.queued
    queue.put_status("1", ONE, JobState.running, None)
    assert queue.claim(TWO, BIG) == {}


def test_every_put_keeps_alive(queue, clock):
    """Silence counts from the last PUT."""
    submit(queue)
    queue.claim(ONE, BIG)
    for _ in range(5):
        clock.time += 299
        queue.put_status("1", ONE, JobState.running, None)
    clock.time += 299.9
    assert queue.status_of("1") is JobState.running
    clock.time += 0.1
    assert queue.status_of("1") is JobState.queued


def test_third_time_out_ends_with_error(queue, clock):
    """Back to the queue twice, then `error`, with one e-mail."""
    submit(queue)
    for account in (ONE, TWO, Account("three", "", ("workers",))):
        assert queue.claim(account, BIG)
        clock.time += 300
    assert queue.get("1").status is JobState.error
    assert [mail.status for mail in queue.mails()] == ["error"]
    assert queue.get("1").is_over


def test_resurrected_job_times_out(queue, clock):
    """`running` after `finished` makes it run again at someone else's."""
    submit(queue)
    queue.claim(ONE, BIG)
    queue.put_status("1", ONE, JobState.finished, None)
    clock.time += 1000
    assert queue.status_of("1") is JobState.finished
    queue.put_status("1", ONE, JobState.running, None)
    clock.time += 300
    assert queue.claim(TWO, BIG)


def test_deleted_job_that_times_out_is_gone(queue, clock):
    """The time-out tells the user's side too, and learns there that the job is deleted."""
    submit(queue)
    queue.claim(ONE, BIG)
    queue.cancel("1")
    clock.time += 300
    assert queue.status_of("1") is None
    assert queue.claim(TWO, BIG) == {}
    assert not queue.cancel("2")


def test_many_threads_claim_each_job_once(queue):
    """One lock holds it together."""
    for number in range(1, 201):
        submit(queue, str(number))
    got = []

    def claim_all():
        while answer := queue.claim(ONE, BIG):
            got.extend(answer)

    threads = [threading.Thread(target=claim_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, got)) == list(range(1, 201))
