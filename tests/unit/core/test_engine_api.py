"""What is sent to Docker, and what its answers mean."""

import io
import json

import pytest

from agent.core.engine_api import (
    cpu_s_of,
    create_body,
    fact_of,
    is_going,
    log_of,
    mark_of,
    message_in,
    unix_time,
)
from agent.core.engine_models import ContainerExit, ContainerFact, ContainerPlan, ContainerStatus
from agent.core.pull import pulled

PLAN = ContainerPlan(
    name="decode-job-7",
    image="lab/decode:1",
    entrypoint=("/bin/sh", "-c"),
    command=("run",),
    env=(("A", "1"), ("B", "x=y\n")),
    labels=(("l", "7"),),
    folder="/jobs/with: colon",
    memory_mib=100,
    cpus=1.5,
    shm_mib=50,
    pids=99,
    network="bridge",
    capabilities=("CHOWN",),
    log_max_mib=10,
)
MIB = 1024 * 1024


def test_the_body_holds_all_that_was_promised():
    """Nothing restarts, nothing is removed by itself, nothing gets more rights than it needs."""
    assert create_body(PLAN) == {
        "Image": "lab/decode:1",
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["run"],
        "Env": ["A=1", "B=x=y\n"],
        "Labels": {"l": "7"},
        "HostConfig": {
            "Mounts": [
                {"Type": "bind", "Source": "/jobs/with: colon", "Target": "/files", "ReadOnly": False}
            ],
            "NetworkMode": "bridge",
            "Memory": 100 * MIB,
            "MemorySwap": 100 * MIB,
            "NanoCpus": 1_500_000_000,
            "PidsLimit": 99,
            "IpcMode": "private",
            "ShmSize": 50 * MIB,
            "Init": True,
            "CapDrop": ["ALL"],
            "CapAdd": ["CHOWN"],
            "SecurityOpt": ["no-new-privileges"],
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "5120k", "max-file": "2"}},
            "DeviceRequests": [],
        },
    }


def test_the_images_own_command_is_null():
    body = create_body(ContainerPlan(**{**_fields(), "entrypoint": None, "command": None}))
    assert (body["Entrypoint"], body["Cmd"]) == (None, None)


def test_gpus_are_one_request_by_uuid_without_a_driver():
    body = create_body(ContainerPlan(**{**_fields(), "gpu_uuids": ("GPU-a", "GPU-b")}))
    assert body["HostConfig"]["DeviceRequests"] == [
        {"DeviceIDs": ["GPU-a", "GPU-b"], "Capabilities": [["gpu"]]}
    ]


def _fields():
    return {name: getattr(PLAN, name) for name in PLAN.__dataclass_fields__}


def details(status, **state):
    labels = {"decode-agent.job-id": "7", "decode-agent.agent-id": "me"}
    return {"Name": "/decode-job-7", "State": {"Status": status, **state}, "Config": {"Labels": labels}}


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("created", ContainerStatus.CREATED),
        ("running", ContainerStatus.RUNNING),
        ("restarting", ContainerStatus.RUNNING),
        ("paused", ContainerStatus.PAUSED),
        ("exited", ContainerStatus.EXITED),
        ("dead", ContainerStatus.EXITED),
        ("removing", ContainerStatus.EXITED),
    ],
)
def test_every_state_has_a_status_and_an_end_where_it_ended(word, status):
    fact = fact_of(details(word, StartedAt="2026-01-02T03:04:05.5Z"))
    assert fact.status is status
    assert (fact.exit is not None) == (status is ContainerStatus.EXITED)
    assert (fact.name, fact.job_id, fact.agent_id) == ("decode-job-7", 7, "me")


def test_an_end_is_read_in_full():
    state = {
        "ExitCode": 137,
        "OOMKilled": True,
        "Error": "oh",
        "StartedAt": "1970-01-01T00:00:10.123456789Z",
        "FinishedAt": "1970-01-01T02:00:20+02:00",
    }
    expected = ContainerExit(137, oom_killed=True, error="oh", started_at=10.123456789, finished_at=20.0)
    assert fact_of(details("exited", **state)).exit == expected


@pytest.mark.parametrize("labels", [None, {}, {"decode-agent.job-id": "x"}, {"decode-agent.job-id": "²"}])
def test_a_container_without_our_label_has_no_job(labels):
    fact = fact_of({"Name": "/x", "State": {"Status": "running"}, "Config": {"Labels": labels}})
    assert fact == ContainerFact("x", ContainerStatus.RUNNING, None, "", 0.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0001-01-01T00:00:00Z", 0.0),
        ("", 0.0),
        ("yesterday", 0.0),
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01T00:00:01.000000001Z", 1.000000001),
        ("1970-01-01T00:00:01.123456789123Z", 1.123456789123),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("2026-11-22T13:14:15.123-05:00", 1795371255.123),
    ],
)
def test_times(text, expected):
    assert unix_time(text) == expected


def frame(stream, content):
    return bytes([stream, 0, 0, 0]) + len(content).to_bytes(4, "big") + content


def test_a_log_loses_its_frames_and_keeps_its_order():
    wire = frame(1, b"out\n") + frame(2, b"err\n") + frame(1, b"") + frame(1, b"\xff\0")
    assert b"".join(log_of(io.BytesIO(wire).read)) == b"out\nerr\n\xff\0"


def test_a_huge_frame_comes_in_pieces():
    pieces = list(log_of(io.BytesIO(frame(1, bytes(1_000_000))).read))
    assert sum(map(len, pieces)) == 1_000_000
    assert max(map(len, pieces)) <= 64 * 1024


def test_a_log_that_is_cut_off_is_no_log():
    with pytest.raises(ValueError, match="cut off"):
        list(log_of(io.BytesIO(frame(1, b"whole")[:-1]).read))


def lines(*events):
    return [json.dumps(event).encode() + b"\r\n" for event in events]


def down(layer, current):
    return {"status": "Downloading", "id": layer, "progressDetail": {"current": current, "total": 100}}


def test_a_pull_counts_the_bytes_of_all_layers():
    """Also less than before, where a layer's download begins anew, and the rest once it is complete.

    Whatever else happens counts as 0: a sign that something moves.
    """
    events = lines(
        {"status": "Pulling from lab/decode", "id": "1"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "a"},
        down("a", 10),
        down("b", 30),
        down("a", 60),
        down("a", 5),
        {"status": "Extracting", "progressDetail": {"current": 999, "total": 1000}, "id": "a"},
        {"status": "Downloading", "id": "c"},
        {"status": "Download complete", "progressDetail": {}, "id": "a"},
        {"status": "Download complete", "progressDetail": {}, "id": "unheard of"},
        {"status": "Status: Downloaded newer image"},
    )
    assert list(pulled(events, ValueError)) == [0, 0, 10, 30, 50, -55, 0, 0, 95, 0, 0]


def test_an_error_among_the_events_is_raised_as_judged():
    events = lines(down("a", 10), {"errorDetail": {"message": "no"}, "error": "no"})
    counts = pulled(events, lambda text: KeyError(f"judged {text}"))
    assert next(counts) == 10
    with pytest.raises(KeyError, match="judged no"):
        next(counts)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"message": "no such container"}', "no such container"),
        (b'{"other": 1}', '{"other": 1}'),
        (b"[]", "[]"),
        (b"404 page not found", "404 page not found"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_what_an_error_says(body, text):
    assert message_in(body) == text


def test_a_container_that_somebody_removes_is_told_from_one_that_has_ended():
    """Docker kills a running one on the way: that is not how the job ended."""
    assert is_going({"State": {"Status": "removing"}})
    for status in ("exited", "dead", "running", None):
        assert not is_going({"State": {"Status": status}})
    assert not is_going({})


@pytest.mark.parametrize(
    ("stats", "cpu_s"),
    [
        ({"cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}}}, 2.5),
        ({"cpu_stats": {"cpu_usage": {}}}, 0.0),
        ({"cpu_stats": None}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_cpu_that_a_container_has_used(stats, cpu_s):
    assert cpu_s_of(stats) == cpu_s


def test_lines_of_a_log_are_told_apart_by_their_times():
    """However long they are, and whatever bytes they hold."""
    first, second = b"2026-01-02T03:04:05.000000001Z a", b"2026-01-02T03:04:05.000000002Z a"
    assert mark_of(first) != mark_of(second)
    assert mark_of(first) == mark_of(first + b"\xff" * 1000)
    assert mark_of(b"") == ""
