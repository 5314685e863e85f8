"""What the control socket may be asked, by whom, and how it is answered."""

import json
from dataclasses import replace

import pytest

from agent.core.control_api import (
    RELEASE_REASON,
    HistoryAsked,
    LogAsked,
    Peer,
    Refused,
    ReleaseAsked,
    ReloadAsked,
    StatusAsked,
    SteerAsked,
    ask_of,
    changes_in,
    check_origin,
    error_in,
    failure_of,
    history_in,
    jobs_target,
    json_of,
    log_target,
    may_ask,
    released_in,
    status_body,
    status_in,
)
from agent.core.errors import ConfigError, DiskTrouble, EngineTrouble, JobFailed, ServiceTrouble, Stopped
from agent.core.status import Mode, Released
from tests.fakes.controls import STATUS

PAUSED = b'{"mode": "paused"}'


@pytest.mark.parametrize(
    ("method", "target", "body", "ask"),
    [
        ("GET", "/v1/status", b"", StatusAsked()),
        ("GET", "/v1/status/", b"", StatusAsked()),
        ("GET", "http://localhost/v1/status", b"", StatusAsked()),
        ("GET", "/v1/jobs", b"", HistoryAsked(50)),
        ("GET", "/v1/jobs?limit=0", b"", HistoryAsked(0)),
        ("GET", "/v1/jobs?limit=10000", b"", HistoryAsked(10000)),
        ("GET", "/v1/jobs/7/log", b"", LogAsked(7, follow=False)),
        ("GET", "/v1/jobs/7/log?follow=0", b"", LogAsked(7, follow=False)),
        ("GET", "/v1/jobs/7/log?follow=1", b"", LogAsked(7, follow=True)),
        ("POST", "/v1/mode", PAUSED, SteerAsked(Mode.PAUSED)),
        ("POST", "/v1/reload", b"", ReloadAsked()),
        ("POST", "/v1/reload", b"whatever", ReloadAsked()),
        ("POST", "/v1/release", b"{}", ReleaseAsked((), RELEASE_REASON)),
        ("POST", "/v1/release", b'{"jobs": [7, 8, 7], "reason": " demo "}', ReleaseAsked((7, 8), "demo")),
    ],
)
def test_what_may_be_asked(method, target, body, ask):
    """Each route of docs/control.md."""
    assert ask_of(method, target, body) == ask


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "said"),
    [
        ("GET", "/", b"", 404, "there is no GET /; there are GET /v1/status"),
        ("GET", "/v2/status", b"", 404, "there is no GET /v2/status"),
        ("POST", "/v1/status", b"", 404, "there is no POST /v1/status"),
        ("GET", "/v1/mode", b"", 404, "there is no GET /v1/mode"),
        ("GET", "/v1/jobs/7", b"", 404, "there is no GET /v1/jobs/7"),
        ("GET", "/v1/jobs?limit=-1", b"", 400, "limit must be a number up to 10000, not -1"),
        ("GET", "/v1/jobs?limit=10001", b"", 400, "limit must be a number up to 10000, not 10001"),
        ("GET", "/v1/jobs?limit=", b"", 400, "limit must be a number up to 10000, not"),
        ("GET", "/v1/jobs?limit=\N{SUPERSCRIPT TWO}", b"", 400, "limit must be a number"),
        ("GET", "/v1/jobs?limt=1", b"", 400, "unknown parameter limt"),
        ("GET", "/v1/status?follow=1", b"", 400, "unknown parameter follow"),
        ("GET", "/v1/jobs/x/log", b"", 400, "job id must be a number, not x"),
        ("GET", f"/v1/jobs/{10**18}/log", b"", 400, "job id must be a number"),
        ("GET", "/v1/jobs/../log", b"", 400, "job id must be a number"),
        ("GET", "/v1/jobs/7/log?follow=yes", b"", 400, "follow must be 0 or 1, not yes"),
        ("GET", "/v1/jobs?" + "a=1&" * 11, b"", 400, "the address is not one"),
        ("GET", "http://[/v1/status", b"", 400, "the address is not one"),
        ("GET", "/\x1b[31m", b"", 404, "there is no GET /[31m"),
        ("POST", "/v1/mode", b"", 400, 'the body must be {"mode": "taking"} or {"mode": "paused"}'),
        ("POST", "/v1/mode", b'{"mode": "flying"}', 400, "the body must be"),
        ("POST", "/v1/mode", b'["mode"]', 400, "the body must be"),
        ("POST", "/v1/mode", b'{"mode": ["paused"]}', 400, "the body must be"),
        ("POST", "/v1/mode", b"\xff\xfe", 400, "the body must be"),
        ("POST", "/v1/mode", b"[" * 4000, 400, "the body must be"),
        ("POST", "/v1/release", b"", 400, 'the body must be {"jobs": [ID, …], "reason": "a sentence"}'),
        ("POST", "/v1/release", b"[7]", 400, "the body must be"),
        ("POST", "/v1/release", b"[" * 4000, 400, "the body must be"),
        ("POST", "/v1/release", b"\xff\xfe", 400, "the body must be"),
        ("POST", "/v1/release?jobs=7", b"{}", 400, "unknown parameter jobs"),
        ("POST", "/v1/release", b'{"job": 7}', 400, "unknown field job"),
        ("POST", "/v1/release", b'{"\\u001b[31m": 7}', 400, "unknown field"),
        ("POST", "/v1/release", b'{"jobs": 7}', 400, "jobs must be an array of up to 100 job ids"),
        ("POST", "/v1/release", b'{"jobs": null}', 400, "jobs must be"),
        ("POST", "/v1/release", b'{"jobs": ["7"]}', 400, "jobs must be"),
        ("POST", "/v1/release", b'{"jobs": [7.0]}', 400, "jobs must be"),
        ("POST", "/v1/release", b'{"jobs": [true]}', 400, "jobs must be"),
        ("POST", "/v1/release", b'{"jobs": [-1]}', 400, "jobs must be"),
        ("POST", "/v1/release", b'{"jobs": [%d]}' % 10**18, 400, "jobs must be"),
        ("POST", "/v1/release", b'{"jobs": [%s7]}' % (b"7," * 100), 400, "jobs must be"),
        ("POST", "/v1/release", b'{"reason": 7}', 400, "reason must be one line of 1 to 200 characters"),
        ("POST", "/v1/release", b'{"reason": " "}', 400, "reason must be"),
        ("POST", "/v1/release", b'{"reason": "a\\nb"}', 400, "reason must be"),
        ("POST", "/v1/release", b'{"reason": "\\ud800"}', 400, "reason must be"),
        ("POST", "/v1/release", b'{"reason": "%s"}' % (b"x" * 201), 400, "reason must be"),
    ],
)
def test_what_may_not(method, target, body, status, said):
    """The answer names what is wrong, without what could harm a terminal."""
    with pytest.raises(Refused) as caught:
        ask_of(method, target, body)
    assert caught.value.status == status
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("uid", "groups", "allowed"),
    [
        (0, {0}, True),
        (1000, {1000}, True),  # the agent's own user
        (1001, {1001, 990}, True),
        (1001, {991}, True),
        (1001, {1001, 27}, False),
        (1001, set(), False),
    ],
)
def test_who_may_ask(uid, groups, allowed):
    """Root, the agent's user, members of the groups; nobody else."""
    assert may_ask(Peer(1, uid, frozenset(groups)), 1000, {990, 991}) is allowed


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost:80"])
def test_a_plain_client_is_welcome(host):
    """What curl sends for http://localhost/."""
    check_origin({"Host": host, "User-Agent": "curl/8", "Accept": "*/*"})


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "the host must be localhost"),
        ({"Host": "evil.example"}, "the host must be localhost"),
        ({"Host": "localhost.evil.example"}, "the host must be localhost"),
        ({"Host": "127.0.0.1:8080"}, "the host must be localhost"),
        ({"Host": "localhost", "Origin": "http://localhost"}, "browsers are not answered"),
        ({"host": "localhost", "ORIGIN": "null"}, "browsers are not answered"),
        ({"Host": "localhost", "Sec-Fetch-Site": "none"}, "browsers are not answered"),
        ({"Host": "localhost", "Referer": "https://evil.example/"}, "browsers are not answered"),
    ],
)
def test_a_page_in_a_browser_is_not(headers, said):
    """Whatever forwards a port to the socket, and whatever name a page has rebound."""
    with pytest.raises(Refused, match=said) as caught:
        check_origin(headers)
    assert caught.value.status == 403


def test_a_status_arrives_as_it_was():
    """All of it; `health` is there for programs, and more fields may come."""
    body = json_of(status_body(STATUS))
    assert status_in(body) == STATUS
    assert json.loads(body)["health"] == "degraded"
    assert status_in(json_of({**json.loads(body), "new": 1})) == STATUS


def test_texts_of_any_kind_can_be_sent():
    """A path that is no text comes as question marks."""
    odd = replace(STATUS, account="caf\udce9 \N{SNOWMAN}\n\x1b")
    assert status_in(json_of(status_body(odd))).account == "caf? \N{SNOWMAN}\n\x1b"


def test_lists_arrive_as_they_were():
    """The history and what a reload changed."""
    assert history_in(json_of(STATUS.recent)) == list(STATUS.recent)
    assert changes_in(json_of({"changes": ("a", "b")})) == ("a", "b")


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"no", b'{"version": 1}', b"\xff"])
@pytest.mark.parametrize("read", [status_in, history_in])
def test_an_answer_that_is_none_is_said(read, body):
    """Another version, or somebody else: no traceback."""
    with pytest.raises(ServiceTrouble, match="restart decode-agent"):
        read(body)


def test_targets_are_what_the_server_understands():
    """Both ends are of one mind."""
    assert ask_of("GET", jobs_target(20), b"") == HistoryAsked(20)
    assert ask_of("GET", jobs_target(10**9), b"") == HistoryAsked(10_000)
    assert ask_of("GET", jobs_target(-5), b"") == HistoryAsked(0)
    assert ask_of("GET", log_target(7, follow=True), b"") == LogAsked(7, follow=True)
    assert ask_of("GET", log_target(7, follow=False), b"") == LogAsked(7, follow=False)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (LookupError("no log of job 7 is known"), (404, "no log of job 7 is known")),
        (KeyError("7"), (404, "7")),
        (LookupError(), (404, "there is no such thing")),
        (ConfigError("A=1 is wrong\nB=2 too"), (422, "A=1 is wrong\nB=2 too")),
        (Stopped("asked to stop"), (503, "the agent is stopping")),
        (EngineTrouble("Docker is away"), (503, "Docker is away")),
        (DiskTrouble("the disk is full"), (503, "the disk is full")),
        (JobFailed("why"), None),
        (ZeroDivisionError(), None),
    ],
)
def test_what_went_wrong_has_a_status(error, answer):
    """What is nobody's plan is left to the log."""
    assert failure_of(error) == answer


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (422, b'{"error": "A=1 is wrong"}', ConfigError, "A=1 is wrong"),
        (404, b'{"error": "no log of job 7 is known"}', ServiceTrouble, "no log of job 7 is known"),
        (403, b'{"error": "no"}', ServiceTrouble, "no: run it with sudo, or join the group decode-agent"),
        (500, b"<html>\x1b", ServiceTrouble, "the service answers 500 <html>"),
        (503, b"", ServiceTrouble, "the service answers 503"),
        (503, b"[" * 4000, ServiceTrouble, "the service answers 503 ["),
    ],
)
def test_what_a_refusal_means(status, body, kind, said):
    """The agent's own words, whoever speaks."""
    error = error_in(status, body)
    assert type(error) is kind
    assert str(error).startswith(said)


def test_a_release_reads_as_it_was_written():
    """Both ends of the answer."""
    released = Released((7, 9), (8,))
    assert released_in(json_of(released)) == released
    with pytest.raises(ServiceTrouble, match="another version"):
        released_in(b'{"mode": "paused"}')
