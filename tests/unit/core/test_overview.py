"""The status as a person reads it."""

import time
from dataclasses import replace

import pytest

from agent.core.models import Phase
from agent.core.overview import (
    doing_text,
    jobs_table,
    loss_text,
    may_be_given_back,
    overview_of,
    wish_text,
)
from agent.core.status import AgentStatus, JobStatus, Mode, PastJob, Trouble

NOON = time.mktime((2026, 3, 4, 12, 0, 0, 0, 0, -1))
GIB = 1024**3
IDLE = AgentStatus(
    version="1.0",
    pid=812,
    started_at=NOON - 3600,
    api_url="https://api.example.org",
    account="lab@example.org",
    mode=Mode.TAKING,
    slots=2,
    jobs=(),
    gates=(),
    troubles=(),
    api_heard_at=NOON - 12,
    next_look_at=NOON + 8,
    free_bytes=212_000_000_000,
)
JOB = JobStatus(7, Phase.RUNNING, 0, ("NVIDIA A100",), "decode/fit:1", NOON - 2700, NOON - 2460)
AWAY = Trouble("Docker does not answer", NOON - 7200)
PAST = PastJob(6, "error", "exit code 3", 3, "decode/fit:1", NOON - 4500, NOON - 1800)


def test_an_idle_agent():
    """All is well, there is nothing to do, and when it looks again."""
    assert overview_of(IDLE, NOON) == [
        "decode-agent 1.0 is running, since 11:00 (1 h), process 812",
        "  api    https://api.example.org as lab@example.org, heard 12 s ago",
        "  jobs   0 of 2 slots busy",
        "  disk   212 GB free",
        "  mode   takes jobs",
        "",
        "no job is under way",
        "  nothing is in the way of one: next look for it in 8 s",
    ]


def test_a_busy_agent():
    """What runs since when, where, and how the last ones ended."""
    lines = overview_of(replace(IDLE, jobs=(JOB,), recent=(PAST,), next_look_at=None), NOON)
    assert lines[5:] == [
        "",
        "job 7  running for 41 min",
        "  claimed 11:15 (45 min ago), slot 0 (NVIDIA A100), decode/fit:1",
        "",
        "last jobs",
        "  JOB  VERDICT  ENDED  TOOK    EXIT  IMAGE         REASON",
        "  6    error    11:30  45 min  3     decode/fit:1  exit code 3",
    ]


def test_an_agent_that_takes_nothing():
    """Every gate with its time; what is a gate is not told twice."""
    paused = Trouble("paused by this machine's owner", NOON - 60)
    status = replace(IDLE, mode=Mode.PAUSED, gates=(paused, AWAY), troubles=(AWAY,), next_look_at=None)
    assert overview_of(status, NOON)[0] == "decode-agent 1.0 is degraded, since 11:00 (1 h), process 812"
    assert overview_of(status, NOON)[4:] == [
        "  mode   paused: takes no further job until `decode-agent resume`",
        "",
        "no job is taken now",
        "  paused by this machine's owner (since 11:59)",
        "  Docker does not answer (since 10:00)",
    ]


def test_trouble_beside_the_work():
    """What is in the way of one job stands with it, what is in the way of all by itself."""
    stuck = replace(JOB, trouble=Trouble("the storage answers 503", NOON - 300))
    lines = overview_of(replace(IDLE, jobs=(stuck,), troubles=(AWAY,)), NOON)
    assert lines[6:] == [
        "job 7  running for 41 min",
        "  claimed 11:15 (45 min ago), slot 0 (NVIDIA A100), decode/fit:1",
        "  the storage answers 503 (since 11:55)",
        "",
        "in the way",
        "  Docker does not answer (since 10:00)",
    ]


def test_an_agent_that_just_started():
    """Nothing is known yet; clocks may disagree by a little."""
    status = replace(
        IDLE, started_at=NOON + 3, api_heard_at=None, free_bytes=None, next_look_at=NOON - 5, account=""
    )
    assert overview_of(status, NOON) == [
        "decode-agent 1.0 is running, since 12:00 (0 s), process 812",
        "  api    https://api.example.org, not heard yet",
        "  jobs   0 of 2 slots busy",
        "  mode   takes jobs",
        "",
        "no job is under way",
        "  nothing is in the way of one: next look for it in 0 s",
    ]


def test_nothing_from_outside_reaches_the_terminal_as_it_is():
    """Reasons, images and troubles come from jobs and servers."""
    evil = "a\x1b]0;title\x07\nb\x9b31m"
    status = replace(
        IDLE,
        api_url=evil,
        account=evil,
        jobs=(replace(JOB, image=evil, doing=evil, gpus=(evil,), trouble=Trouble(evil, NOON)),),
        gates=(Trouble(evil, NOON),),
        troubles=(Trouble(evil + "2", NOON),),
        recent=(replace(PAST, reason=evil, image=evil, verdict=evil),),
    )
    lines = overview_of(status, NOON)
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 19


@pytest.mark.parametrize(
    ("job", "text"),
    [
        (JOB, "running for 41 min"),
        (replace(JOB, phase=Phase.STAGING_IN), "preparing for 41 min"),
        (
            replace(JOB, phase=Phase.STAGING_IN, doing="data/in.csv", done_bytes=GIB, total_bytes=4 * GIB),
            "downloading inputs for 41 min: data/in.csv (1.0 of 4.0 GiB, 25 %)",
        ),
        (
            replace(JOB, phase=Phase.STAGING_IN, doing="image decode/fit:1", done_bytes=GIB),
            "pulling its image for 41 min: image decode/fit:1 (1.0 GiB)",
        ),
        (
            replace(JOB, phase=Phase.STAGING_OUT, doing="empty.csv", total_bytes=0),
            "uploading outputs for 41 min: empty.csv (0 of 0 B)",
        ),
        (replace(JOB, phase=Phase.REPORTING, phase_since=NOON - 5), "reporting for 5 s"),
        (replace(JOB, phase=Phase.DONE, phase_since=NOON + 5), "cleaning up for 0 s"),
    ],
)
def test_what_becomes_of_a_job(job, text):
    """The phase, since when, what moves and how much of it."""
    assert doing_text(job, NOON) == text


@pytest.mark.parametrize("mode", list(Mode))
def test_a_wish_says_how_to_take_it_back(mode):
    """But for the one that needs no taking back."""
    assert ("decode-agent resume" in wish_text(mode)) == (mode is not Mode.TAKING)


def test_the_table_of_past_jobs():
    """Aligned; what is not known is empty; those of other days have their date."""
    old = PastJob(12345, "finished", "", 0, "", NOON - 900_000, NOON - 200_000)
    gone = PastJob(5, "gone", "", None, "x" * 70, NOON - 90, NOON - 60)
    assert jobs_table([gone, PAST, old], NOON) == [
        "JOB    VERDICT   ENDED             TOOK          EXIT  IMAGE" + " " * 57 + "REASON",
        "5      gone      11:59             30 s                " + "x" * 59 + "…",
        "6      error     11:30             45 min        3     decode/fit:1" + " " * 50 + "exit code 3",
        "12345  finished  2026-03-02 04:26  194 h 26 min  0",
    ]


def test_the_table_fits_the_terminal():
    """A line too long ends in a dot-dot-dot; nothing wraps."""
    lines = jobs_table([replace(PAST, reason="why " * 100)], NOON, 60)
    assert max(map(len, lines)) == 60
    assert lines[1].endswith("…")
    assert jobs_table([], NOON) == ["JOB  VERDICT  ENDED  TOOK  EXIT  IMAGE  REASON"]


def test_a_slot_that_rests_among_others():
    """Jobs are taken, but not on it: it stands under what is in the way."""
    rests = Trouble(
        "slot 0 rests: 3 attempts in a row failed by this machine's fault, the last: x", NOON - 60
    )
    lines = overview_of(replace(IDLE, jobs=(replace(JOB, slot=1),), troubles=(rests,)), NOON)
    assert lines[0].startswith("decode-agent 1.0 is degraded")
    assert lines[-2:] == ["in the way", f"  {rests.text} (since 11:59)"]
    lines = overview_of(replace(IDLE, gates=(rests,), troubles=(rests,)), NOON)
    assert lines[-2:] == ["no job is taken now", f"  {rests.text} (since 11:59)"]


def test_a_container_that_cannot_be_removed():
    """Its slot is kept until it is gone; it is said what hangs and since when."""
    stuck = Trouble("container decode-job-7 runs on after SIGKILL: its process hangs", NOON - 7200)
    job = replace(JOB, phase=Phase.DONE, phase_since=NOON - 7200, trouble=stuck)
    lines = overview_of(replace(IDLE, jobs=(job,)), NOON)
    assert lines[6] == "job 7  cleaning up for 2 h"
    assert lines[8] == f"  {stuck.text} (since 10:00)"


def test_what_a_release_takes_from_a_job():
    """Said before it is done."""
    assert loss_text(JOB, NOON) == (
        "Job 7 was claimed 45 min ago, running for 41 min (decode/fit:1):"
        " all of that is lost, it starts anew elsewhere."
    )
    uploading = replace(JOB, phase=Phase.STAGING_OUT, phase_since=NOON - 30)
    assert loss_text(uploading, NOON) == (
        "Job 7 is uploading outputs for 30 s: its container has ended, it is left to that."
    )
    assert [phase for phase in Phase if may_be_given_back(replace(JOB, phase=phase))] == [
        Phase.STAGING_IN,
        Phase.RUNNING,
    ]
