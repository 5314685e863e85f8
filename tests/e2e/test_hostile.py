"""Hostile job specs and outputs: refused as that job's error, nothing written outside, the agent goes on."""

import pytest

from tests.e2e.agent_process import FILES, finish

pytestmark = pytest.mark.docker


def spec(image, *, files_down=None, files_up=None, **app):
    return {
        "app": {"cmd": ["true"], "env": None} | app,
        "handler": {"image_url": image, "files_down": files_down, "files_up": files_up},
        "meta": {"job_id": 1, "date_created": "2026-01-01T00:00:00"},
        "hardware": {},
    }


HOSTILE = {
    "absolute": ({"files_down": {"/etc/passwd": "FILE"}}, "files_down: '/etc/passwd'"),
    "dots": ({"files_down": {"../../x": "FILE"}}, "files_down: '../../x'"),
    "dots inside": ({"files_down": {"a/../../x": "FILE"}}, "files_down: 'a/../../x'"),
    "empty": ({"files_down": {"": "FILE"}}, "files_down: ''"),
    "NUL": ({"files_down": {"a\0b": "FILE"}}, "files_down: 'a\\x00b'"),
    "too long": ({"files_down": {"x" * 256: "FILE"}}, "longer than 255 bytes"),
    "same path": ({"files_down": {"a/b": "FILE", "a//b": "FILE"}}, "files_down: 'a//b'"),
    "below a file": ({"files_down": {"a": "FILE", "a/b": "FILE"}}, "files_down: 'a/b'"),
    "files_up outside": ({"files_up": {"output": "../out"}}, "files_up.output: '../out'"),
    "files_up absolute": ({"files_up": {"log": "/var/log"}}, "files_up.log: '/var/log'"),
    "files_up unknown": ({"files_up": {"elsewhere": "out"}}, "files_up"),
    "no file": ({"files_down": {"a": "/user_data/none"}}, "input 'a': input missing"),
    "cmd is text": ({"cmd": "ls"}, "malformed job spec: app.cmd"),
    "env name": ({"env": {"A=B": "c"}}, "app.env"),
}


def test_hostile_specs(local_agent, local_mock, images, tmp_path):
    """Each is that job's `error` with a text that names the field, in one life of the agent."""
    file_id = local_mock.state.put_file("x.txt", b"x")
    jobs = {}
    for name, (parts, reason) in HOSTILE.items():
        down = parts.get("files_down")
        down = down and {path: file_id if at == "FILE" else at for path, at in down.items()}
        raw = spec(images.busybox, **{**parts, "files_down": down})
        jobs[name] = (local_mock.submit(spec=raw, unchecked=True), reason)
    nobody = local_mock.submit(spec=spec(images.busybox), unchecked=True, queue_id="seven")
    empty = local_mock.submit(spec={}, unchecked=True)
    good = local_mock.submit(image=images.busybox, cmd=["true"])
    before = sorted(path for path in tmp_path.rglob("*") if "state" not in path.parts)
    assert finish(local_agent, local_mock, good).status == "finished"
    for name, (job_id, reason) in jobs.items():
        job = local_mock.job(job_id)
        assert (name, job.status) == (name, "error")
        assert reason in job.runtime_details, name
        assert len(local_mock.mails(job_id)) == 1, name
    assert "malformed job spec" in local_mock.job(empty).runtime_details
    assert local_mock.job(nobody).status == "pulled"
    assert "job id 'seven' is not a number" in local_agent.log
    outside = sorted(path for path in tmp_path.rglob("*") if "state" not in path.parts)
    assert [path for path in outside if path not in before] == [tmp_path / "state.log"]


def test_hostile_outputs(local_agent, local_mock, images):
    """Links out, loops, FIFOs, devices and sockets are left out and named; the rest arrives."""
    job_id = local_mock.submit(
        image=images.busybox,
        cmd=[
            "cd /files/output && echo real > real && mkdir sub &&",
            "ln -s real inside && ln -s /files/output/real absolute-inside &&",
            "ln -s /etc/passwd outside && ln -s ../../../../../../etc/shadow dots && ln -s . loop &&",
            "ln -s / root && ln -s nowhere dangling && mkfifo fifo && ln -s /proc/self/mem mem",
        ],
        files_up=FILES,
    )
    job = finish(local_agent, local_mock, job_id)
    assert job.status == "finished", job.runtime_details
    got = {one.path for one in local_mock.outputs(job_id) if one.kind == "output"}
    assert got == {"output/real", "output/inside", "output/absolute-inside"}
    assert local_mock.output(job_id, "output/absolute-inside") == b"real\n"
    for name in ("outside", "dots", "loop", "root", "dangling", "fifo", "mem"):
        assert f"'output/{name}'" in job.runtime_details
        assert f"'output/{name}'" in local_agent.log


def test_names_that_are_not_utf8(local_agent, local_mock, images):
    """They arrive under an escaped name, beside each other."""
    job_id = local_mock.submit(
        image=images.busybox,
        cmd=[r"cd /files/output && printf a > $(printf 'caf\351.txt') && printf b > 'caf%E9.txt'"],
        files_up=FILES,
    )
    assert finish(local_agent, local_mock, job_id).status == "finished"
    outputs = {one.path for one in local_mock.outputs(job_id) if one.kind == "output"}
    assert {local_mock.output(job_id, path) for path in outputs} == {b"a", b"b"}


def test_a_root_that_is_a_link(local_agent, local_mock, images):
    """The folder that files_up names may be a link itself: it is not followed."""
    job_id = local_mock.submit(
        image=images.busybox,
        cmd=["rm -rf /files/output; ln -s /etc /files/output"],
        files_up={"output": "output"},
    )
    job = finish(local_agent, local_mock, job_id)
    assert local_mock.outputs(job_id) == []
    assert "'output'" in job.runtime_details
