"""The one line of truth."""

import time
from dataclasses import replace

import pytest

from agent.core.models import Phase
from agent.core.status import (
    AgentStatus,
    Health,
    JobStatus,
    Mode,
    Trouble,
    health_of,
    is_delivering,
    line_of,
    troubles_of,
)

NOW = time.mktime((2026, 3, 5, 14, 32, 0, 0, 0, -1))
GIB = 1024**3
DOCKER = Trouble("Docker does not answer: Docker cannot be reached (ping)", NOW - 1800)
IDLE = AgentStatus(
    version="1",
    pid=1,
    started_at=NOW - 9000,
    api_url="https://api",
    account="a",
    mode=Mode.TAKING,
    slots=2,
    jobs=(),
    gates=(),
    troubles=(),
    api_heard_at=NOW - 12,
    next_look_at=NOW + 12,
    free_bytes=212_000_000_000,
)
JOB = JobStatus(123, Phase.RUNNING, 0, ("RTX 4090",), "image:1", NOW - 9000, NOW - 41 * 60)
END = " · API 12 s ago · 212 GB free"


def job(phase, **changes):
    return replace(JOB, job_id=5, phase=phase, **changes)


@pytest.mark.parametrize(
    ("jobs", "line"),
    [
        ((JOB,), "Running job 123 on GPU 0, 41 min"),
        ((replace(JOB, gpus=()),), "Running job 123, 41 min"),
        ((replace(JOB, phase_since=NOW + 5),), "Running job 123 on GPU 0, 0 s"),
        ((JOB, replace(JOB, job_id=124, slot=1)), "Running jobs 123, 124"),
        ((JOB, job(Phase.STAGING_OUT)), "Running job 123 on GPU 0, 41 min; uploading outputs of job 5"),
        ((job(Phase.STAGING_IN),), "Preparing job 5"),
        (
            (job(Phase.STAGING_IN, doing="a.tif", done_bytes=3.1 * GIB, total_bytes=10 * GIB),),
            "Downloading inputs of job 5 (3.1 of 10 GiB)",
        ),
        (
            (job(Phase.STAGING_IN, doing="a.tif", done_bytes=3 * GIB),),
            "Downloading inputs of job 5 (3.0 GiB)",
        ),
        (
            (job(Phase.STAGING_IN, doing="image x:1", done_bytes=2 * GIB),),
            "Pulling the image of job 5 (2.0 GiB)",
        ),
        ((job(Phase.STAGING_OUT),), "Uploading outputs of job 5"),
        (
            (job(Phase.STAGING_OUT, doing="b", done_bytes=5, total_bytes=100),),
            "Uploading outputs of job 5 (5 of 100 B)",
        ),
        ((job(Phase.REPORTING),), "Reporting job 5"),
        ((job(Phase.DONE),), "Cleaning up after job 5"),
        (
            (job(Phase.STAGING_OUT, trouble=Trouble("the storage answers 503", NOW - 1800)),),
            "Uploading outputs of job 5: the storage answers 503 (since 14:02)",
        ),
    ],
)
def test_jobs(jobs, line):
    """What each is at; a job that does not get on says why."""
    assert line_of(replace(IDLE, jobs=jobs), NOW) == line + END


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, f"Idle · next look in 12 s{END}"),
        ({"next_look_at": NOW - 1}, f"Idle{END}"),
        ({"next_look_at": None}, f"Idle{END}"),
        ({"troubles": (DOCKER,)}, f"Waiting: Docker does not answer (since 14:02){END}"),
        ({"gates": (DOCKER,)}, f"Waiting: Docker does not answer (since 14:02){END}"),
        (
            {"jobs": (JOB,), "troubles": (DOCKER,)},
            f"Running job 123 on GPU 0, 41 min · Docker does not answer (since 14:02){END}",
        ),
        ({"mode": Mode.PAUSED}, f"Paused (resume with: decode-agent resume){END}"),
        ({"mode": Mode.PAUSED, "jobs": (JOB,)}, f"Paused: job 123 still runs{END}"),
        (
            {"mode": Mode.PAUSED, "troubles": (DOCKER,)},
            f"Paused (resume with: decode-agent resume) · Docker does not answer (since 14:02){END}",
        ),
        ({"mode": Mode.DRAINING, "jobs": (job(Phase.RUNNING),)}, f"Draining: job 5 still runs{END}"),
        (
            {"mode": Mode.DRAINING, "jobs": (JOB, job(Phase.RUNNING))},
            f"Draining: jobs 5, 123 still run{END}",
        ),
        ({"mode": Mode.DRAINING}, f"Drained (resume with: decode-agent resume){END}"),
        ({"mode": Mode.LEAVING, "jobs": (JOB,)}, f"Leaving: job 123 still runs{END}"),
        ({"api_heard_at": None, "free_bytes": None}, "Idle · next look in 12 s"),
    ],
)
def test_no_job(changes, line):
    """What it waits for, or what its owner asked for."""
    assert line_of(replace(IDLE, **changes), NOW) == line


def test_it_stays_one_short_line():
    """Whatever comes from outside."""
    nasty = Trouble("x\ny\x1b[31m" + "z" * 5000, NOW)
    for status in (
        replace(IDLE, troubles=(nasty,)),
        replace(IDLE, jobs=(replace(JOB, trouble=nasty),)),
        replace(IDLE, jobs=tuple(replace(JOB, job_id=10**17 + n) for n in range(50))),
    ):
        line = line_of(status, NOW)
        assert line.isprintable()
        assert len(line) <= 300


@pytest.mark.parametrize(
    ("changes", "health"),
    [
        ({}, Health.RUNNING),
        ({"jobs": (JOB,)}, Health.RUNNING),
        ({"mode": Mode.PAUSED, "gates": (Trouble("paused", NOW),)}, Health.RUNNING),
        ({"troubles": (DOCKER,)}, Health.DEGRADED),
        ({"jobs": (replace(JOB, trouble=DOCKER),)}, Health.DEGRADED),
    ],
)
def test_health(changes, health):
    """Degraded is what is in the way, not what the owner wants."""
    assert health_of(replace(IDLE, **changes)) is health


def test_a_trouble_that_goes_on_keeps_its_beginning():
    """However its words change; one that came back begins anew."""
    first = troubles_of({}, {"engine": "a", "disk": "b"}, 100.0)
    second = troubles_of(first, {"engine": "other words"}, 200.0)
    third = troubles_of(second, {"engine": "other words", "disk": "b"}, 300.0)
    assert second == {"engine": Trouble("other words", 100.0)}
    assert third == {"engine": Trouble("other words", 100.0), "disk": Trouble("b", 300.0)}


@pytest.mark.parametrize("phase", list(Phase))
def test_who_delivers(phase):
    """Outputs or a verdict are on their way, and nothing is in the way: that can be waited for."""
    job = JobStatus(7, phase, 0, (), "", 0.0, 0.0)
    assert is_delivering(job) == (phase in {Phase.STAGING_OUT, Phase.REPORTING})
    assert not is_delivering(replace(job, trouble=Trouble("the storage is away", 0.0)))
