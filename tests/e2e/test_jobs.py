"""Whole jobs: the stand-in of the API, a real engine, the real agent."""

import itertools

import pytest

from tests.e2e.agent_process import FILES, finish, said_after_verdict

pytestmark = pytest.mark.docker

ODD_NAMES = (
    "with space.txt",
    "ha#sh.txt",
    "qu?ery.txt",
    "per%20cent.txt",
    "plus+.txt",
    "uniçödé ☃.txt",
    "-dash.txt",
    "semi;colon&and=.txt",
)


def test_a_job_with_nested_outputs(agent, mock, images):
    """Claimed, fed, run, collected with its folders, reported once; nothing is left over."""
    job_id = mock.submit(
        image=images.busybox,
        files={"data/frames.csv": b"1,2,3\n", "config/param.yaml": b"epochs: 2\n"},
        cmd=[
            "mkdir -p /files/output/sub/deeper /files/log &&",
            "cat $(find /files/data -type f | head -n 1) > /files/output/sub/deeper/result.csv &&",
            "cp /files/config/param.yaml /files/output/ && echo $GREETING > /files/log/log.log",
        ],
        env={"GREETING": "hello world"},
        files_up=FILES,
    )
    job = finish(agent, mock, job_id)
    assert job.statuses == ["queued", "pulled", "preprocessing", "running", "postprocessing", "finished"]
    assert mock.output(job_id, "output/sub/deeper/result.csv") == b"1,2,3\n"
    assert mock.output(job_id, "output/param.yaml") == b"epochs: 2\n"
    assert mock.output(job_id, "log/log.log", "log") == b"hello world\n"
    assert mock.output(job_id, "log/container.log", "log") == b""
    assert len(mock.mails(job_id)) == 1
    assert said_after_verdict(mock, job_id) == []


def test_exit_3(local_agent, local_mock, images):
    """One `error`, sent once, after the uploads, with the code and the log's end."""
    job_id = local_mock.submit(
        image=images.busybox,
        cmd=["mkdir -p /files/output; echo part > /files/output/part.csv; echo so sad >&2; exit 3"],
        files_up=FILES,
    )
    job = finish(local_agent, local_mock, job_id)
    assert job.status == "error"
    assert job.runtime_details.startswith("exit code 3\n")
    assert job.runtime_details.endswith("so sad")
    assert local_mock.output(job_id, "output/part.csv") == b"part\n"
    assert local_mock.output(job_id, "log/container.log", "log") == b"so sad\n"
    assert len(local_mock.mails(job_id)) == 1
    assert said_after_verdict(local_mock, job_id) == []


def test_out_of_memory(local_agent, local_mock, images):
    """The reason names the limit."""
    local_agent.settings = {"DECODE_JOB_MEMORY_MIB": "64"}
    job_id = local_mock.submit(image=images.busybox, cmd=["head -c 200m /dev/zero | tail"])
    job = finish(local_agent, local_mock, job_id)
    assert job.status == "error"
    assert job.runtime_details.startswith("killed: out of memory (limit 64 MiB)")


def test_an_image_that_is_not_there(local_agent, local_mock, images):
    """The job's own fault; the next job runs."""
    bad = local_mock.submit(image="nowhere.invalid/none:1", cmd=["true"])
    good = local_mock.submit(image=images.busybox, cmd=["true"])
    assert finish(local_agent, local_mock, bad).status == "error"
    assert local_mock.job(bad).runtime_details.startswith("image not found: nowhere.invalid/none:1")
    assert local_mock.job(good).status == "finished"


def test_time_is_over(local_agent, local_mock, images):
    """JOB_MAX_RUNTIME ends a container, also one that ignores SIGTERM."""
    local_agent.settings = {"DECODE_JOB_MAX_RUNTIME": "2", "DECODE_JOB_STOP_GRACE": "1"}
    job_id = local_mock.submit(image=images.busybox, cmd=["trap '' TERM; while :; do sleep 1; done"])
    job = finish(local_agent, local_mock, job_id)
    assert job.status == "error"
    assert job.runtime_details.startswith("timed out after 2 s")


@pytest.mark.parametrize(
    ("cmd", "content"),
    [
        (["mkdir /files/output && echo made > /files/output/x"], b"made\n"),
        (["echo found > /files/output/x"], b"found\n"),
        (
            [
                "mkdir /files/output/sub &&",
                "echo sub > /files/output/sub/x && mv /files/output/sub/x /files/output",
            ],
            b"sub\n",
        ),
        (["mkdir -p /files/output;", "echo both > /files/output/x"], b"both\n"),
        (["cd /files && mkdir output && echo cd > output/x"], b"cd\n"),
    ],
)
def test_output_folders_exist_unless_the_command_makes_them(local_agent, local_mock, images, cmd, content):
    """Both kinds of deployed commands work."""
    job_id = local_mock.submit(image=images.busybox, cmd=cmd, files_up=FILES)
    job = finish(local_agent, local_mock, job_id)
    assert job.status == "finished", job.runtime_details
    assert local_mock.output(job_id, "output/x") == content


def test_commands_of_images(local_agent, local_mock, images):
    """`cmd: null` runs the image's own; an ENTRYPOINT does not swallow a command."""
    own = local_mock.submit(image=images.own_command, cmd=None, files_up={"output": "own.txt"})
    through = local_mock.submit(
        image=images.entrypoint, cmd=["echo through > /files/output/x"], files_up=FILES
    )
    assert finish(local_agent, local_mock, own).runtime_details.startswith("exit code 5")
    assert local_mock.output(own, "own.txt") == b"own\n"
    assert local_mock.job(through).status == "finished"
    assert local_mock.output(through, "output/x") == b"through\n"


def test_a_user_other_than_root_can_write(local_agent, local_mock, images):
    """The folders are open to whoever the image runs as."""
    job_id = local_mock.submit(
        image=images.user,
        cmd=["id -u > /files/output/x; cat /files/in"],
        files={"in": b"y"},
        files_up=FILES,
    )
    assert finish(local_agent, local_mock, job_id).status == "finished"
    assert local_mock.output(job_id, "output/x").strip() not in {b"", b"0"}


def test_outputs_that_only_root_can_read(local_agent, local_mock, images):
    """Root's files of mode 0600 in folders of mode 0700 arrive."""
    job_id = local_mock.submit(
        image=images.busybox,
        cmd=[
            "umask 077; mkdir -p /files/output/deep;",
            "echo secret > /files/output/deep/x; chmod 0 /files/output/deep/x",
        ],
        files_up=FILES,
    )
    assert finish(local_agent, local_mock, job_id).status == "finished"
    assert local_mock.output(job_id, "output/deep/x") == b"secret\n"


def test_200_inputs_and_200_outputs(agent, mock, images):
    """Every one of them arrives as it was."""
    files = {f"data/{number // 20}/{number}.bin": f"content {number}".encode() for number in range(200)}
    job_id = mock.submit(
        image=images.busybox, files=files, cmd=["cp -r /files/data /files/output/"], files_up=FILES
    )
    assert finish(agent, mock, job_id).status == "finished"
    for path, content in files.items():
        assert mock.output(job_id, f"output/{path}") == content


def test_odd_names(agent, mock, images):
    """Names that mean something in a URL or to a shell arrive unchanged both ways."""
    files = {
        f"data/{folder}{name}": name.encode()
        for name, folder in itertools.product(ODD_NAMES, ("", "so?#odd %41/"))
    }
    job_id = mock.submit(
        image=images.busybox, files=files, cmd=["cp -r /files/data /files/output/"], files_up=FILES
    )
    job = finish(agent, mock, job_id)
    assert job.status == "finished", job.runtime_details
    assert {one.path for one in mock.outputs(job_id) if one.kind == "output"} == {
        f"output/{path}" for path in files
    }
    for path, content in files.items():
        assert mock.output(job_id, f"output/{path}") == content
