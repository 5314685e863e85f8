"""The steps of a job, one by one, as a cloud worker calls them."""

from pathlib import Path

import pytest

from agent.adapters.job_folder import LocalJobFolder
from agent.core.errors import ApiTrouble, DiskTrouble, JobFailed, JobGone
from agent.core.models import Job, Offer, RefusedJob, Verdict, Word
from agent.steps import Means, fetch_jobs, report, stage_inputs, stage_outputs
from tests.fakes.api import FakeApi, FakeTransfer

SPEC = {
    "app": {"cmd": ["true"], "env": None},
    "handler": {"image_url": "demo:1", "files_down": {"data/in.csv": "/u/in"}, "files_up": {"output": "out"}},
}


@pytest.fixture
def api():
    return FakeApi(queue={"7": SPEC}, files={"/u/in": b"1,2,3"})


@pytest.fixture
def means(api):
    return Means(api, FakeTransfer(api))


@pytest.fixture
def job(api):
    (job,) = fetch_jobs(api, Offer(1024, 1))
    return job


@pytest.fixture
def folder(tmp_path):
    return LocalJobFolder(tmp_path / "jobs", 7)


def write(folder, path, content=b"x"):
    target = Path(folder.mount, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def test_a_job_is_claimed_once(api):
    """A claim is a dequeue."""
    (job,) = fetch_jobs(api, Offer(1024, 1))
    assert isinstance(job, Job)
    assert job.id == 7
    assert fetch_jobs(api, Offer(1024, 1)) == []


@pytest.mark.parametrize(
    ("key", "spec", "job_id", "reason"),
    [
        ("seven", SPEC, None, "job id 'seven' is not a number"),
        ("07", SPEC, None, "not a number"),
        ("-7", SPEC, None, "not a number"),
        ("7\n", SPEC, None, "not a number"),
        ("\u0667", SPEC, None, "not a number"),
        ("9" * 30, SPEC, None, "not a number"),
        ("7", {"app": {}}, 7, "malformed job spec: handler: Field required"),
        ("7", None, 7, "malformed job spec: the whole spec"),
        ("7", {**SPEC, "app": {"cmd": "ls"}}, 7, "malformed job spec: app.cmd"),
        ("7", {**SPEC, "app": {"cmd": [3]}}, 7, "malformed job spec: app.cmd.0"),
        ("7", {**SPEC, "handler": {"image_url": "x", "files_up": {"elsewhere": "o"}}}, 7, "files_up"),
    ],
)
def test_a_malformed_job_is_refused_with_the_fields_name(key, spec, job_id, reason):
    """Whatever the queue holds, the worker goes on and can say what is wrong."""
    (refused,) = fetch_jobs(FakeApi(queue={key: spec}), Offer(1024, 1))
    assert isinstance(refused, RefusedJob)
    assert refused.id == job_id
    assert reason in refused.reason


def test_unknown_fields_are_ignored():
    """The API may add fields any day."""
    spec = {**SPEC, "new": 1, "app": {**SPEC["app"], "new": 2}, "hardware": {"new": 3}}
    assert isinstance(fetch_jobs(FakeApi(queue={"7": spec}), Offer(1, 1))[0], Job)


def test_inputs_come_once(job, folder, means, api):
    """Complete inputs are kept: the second time nothing is asked for."""
    stage_inputs(job, folder, means)
    assert folder.has(("data", "in.csv"))
    api.files.clear()
    stage_inputs(job, folder, means)


def test_a_missing_input_is_named(job, folder, means, api):
    """The user reads which of two hundred files it was."""
    api.files.clear()
    with pytest.raises(JobFailed, match=r"input 'data/in.csv': .*missing"):
        stage_inputs(job, folder, means)


def test_outputs_arrive_with_their_folders(job, folder, means, api):
    """The path below the job's folder, first component included, becomes base_path."""
    folder.create()
    write(folder, "out/a/b.h5", b"deep")
    write(folder, "out/c.csv", b"flat")
    write(folder, "elsewhere/d", b"not asked for")
    staged = stage_outputs(job, folder, means)
    assert api.uploads == {"7/output/out/a/b.h5": b"deep", "7/output/out/c.csv": b"flat"}
    assert (staged.uploaded, staged.skipped, staged.failed) == (2, (), ())


def test_uploaded_files_are_not_sent_again(job, folder, means, api):
    """What `mark` heard before the crash is left out after it."""
    folder.create()
    write(folder, "out/a")
    write(folder, "out/b")
    marked = []
    stage_outputs(job, folder, means, mark=marked.append)
    api.uploads.clear()
    stage_outputs(job, folder, means, uploaded=frozenset(marked[:1]))
    assert list(api.uploads) == ["7/output/out/b"]


def test_one_bad_file_does_not_keep_the_others_back(job, folder, means, api, monkeypatch):
    """All that can be uploaded is; the one that cannot is named."""
    folder.create()
    write(folder, "out/a")
    write(folder, "out/b")
    upload = means.transfer.upload

    def refusing(*args, **kwargs):
        if kwargs["name"] == "a":
            raise JobFailed("over 5 GiB")
        upload(*args, **kwargs)

    monkeypatch.setattr(means.transfer, "upload", refusing)
    staged = stage_outputs(job, folder, means)
    assert list(api.uploads) == ["7/output/out/b"]
    assert len(staged.failed) == 1
    assert "'out/a'" in staged.failed[0]
    assert "5 GiB" in staged.failed[0]


def test_the_containers_log_goes_beside_the_jobs(api, folder, means):
    """As container.log where files_up has `log`, nowhere else."""
    spec = {**SPEC, "handler": {"image_url": "demo:1", "files_up": {"output": "out", "log": "log"}}}
    api.queue["8"] = spec
    job = fetch_jobs(api, Offer(1, 1), limit=2)[1]
    folder.create()
    folder.log.write_text("hello")
    stage_outputs(job, folder, means)
    assert api.uploads == {"8/log/log/container.log": b"hello"}


def test_a_log_that_cannot_be_read_is_the_machines_trouble(api, folder, means):
    """It lies beside what the container sees, so whatever is wrong with it is not the job's doing."""
    spec = {**SPEC, "handler": {"image_url": "demo:1", "files_up": {"log": "log"}}}
    api.queue["8"] = spec
    job = fetch_jobs(api, Offer(1, 1), limit=2)[1]
    folder.create()
    folder.log.mkdir()
    with pytest.raises(DiskTrouble, match="the container's log cannot be read"):
        stage_outputs(job, folder, means)


def test_the_verdict_is_said_with_its_details(api):
    """One PUT."""
    api.states[7] = Word.POSTPROCESSING
    report(api, 7, Verdict.ERROR, "exit code 3")
    assert api.said == [(7, Word.ERROR, "exit code 3")]


def test_a_verdict_that_was_said_is_not_said_again(api):
    """The user gets an e-mail for each."""
    api.states[7] = Word.FINISHED
    report(api, 7, Verdict.FINISHED, "", may_be_sent=True)
    assert api.said == []


def test_a_verdict_that_got_lost_is_said(api):
    """Asked first, but then said."""
    api.states[7] = Word.POSTPROCESSING
    report(api, 7, Verdict.FINISHED, "", may_be_sent=True)
    assert api.verdicts(7) == [(Word.FINISHED, "")]


@pytest.mark.parametrize("state", [Word.QUEUED, Word.FINISHED, Word.ERROR])
def test_a_job_that_is_queued_or_over_is_not_given_back(api, state):
    """It timed out meanwhile, or was done elsewhere: `queued` would bring it back to life."""
    api.states[7] = state
    report(api, 7, Verdict.RETURNED, "why")
    assert api.said == []


@pytest.mark.parametrize("state", [Word.PULLED, Word.PREPROCESSING, Word.RUNNING, Word.POSTPROCESSING])
def test_a_job_under_way_is_given_back_with_the_reason(api, state):
    """Whatever was said of it last."""
    api.states[7] = state
    report(api, 7, Verdict.RETURNED, "why")
    assert api.said == [(7, Word.QUEUED, "why")]


def test_nothing_is_said_of_a_job_that_is_gone(api):
    """GONE is for the journal only; a 404 is passed on."""
    report(api, 7, Verdict.GONE, "")
    assert api.said == []
    api.deleted.add(7)
    with pytest.raises(JobGone):
        report(api, 7, Verdict.FINISHED, "", may_be_sent=True)


@pytest.mark.parametrize("status", [414, 422])
def test_details_that_the_api_refuses_are_left_out(api, status, monkeypatch):
    """The verdict counts more than its words."""
    api.states[7] = Word.POSTPROCESSING
    say = api.say

    def picky(job_id, word, details=""):
        if details:
            raise ApiTrouble("too long", status=status)
        say(job_id, word)

    monkeypatch.setattr(api, "say", picky)
    report(api, 7, Verdict.ERROR, "x" * 9000)
    assert api.verdicts(7) == [(Word.ERROR, "")]
