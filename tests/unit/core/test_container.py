"""How a job becomes a plan for its container."""

import pytest

from agent.core.container import (
    Limits,
    container_name,
    folders_to_make,
    is_image_allowed,
    plan_container,
)
from agent.core.errors import JobFailed
from agent.core.models import AppSpec, Gpu, HandlerSpec, Job, JobSpec, Slot

SLOT = Slot(0, memory_mib=8192, cpu_cores=6)
GPU = Gpu("GPU-aaaa", "RTX 4090", "ada", 24564)


def job(cmd=("true",), env=None, image="lab/decode:1", job_id=7):
    return Job(job_id, JobSpec(app=AppSpec(cmd=cmd, env=env), handler=HandlerSpec(image_url=image)))


def plan(job_, slot=SLOT, limits=Limits(), allowed=()):  # noqa: B008 - frozen
    return plan_container(
        job_, slot, limits, agent_id="me", version="1.2.3", folder="/jobs/7", allowed_images=allowed
    )


def env_of(**env):
    return dict(plan(job(env=env)).env)


def test_the_name_is_a_function_of_the_job_id():
    """After a crash the container is found by it."""
    assert container_name(7) == plan(job(job_id=7)).name == "decode-job-7"


def test_the_labels_say_whose_it_is():
    assert dict(plan(job()).labels) == {
        "decode-agent.job-id": "7",
        "decode-agent.agent-id": "me",
        "decode-agent.version": "1.2.3",
    }


def test_the_words_are_joined_with_spaces_for_a_shell_in_place_of_the_entrypoint():
    """As the protocol says: no quoting, or `$(find …)` would not work."""
    made = plan(job(cmd=("ls", "$(find /files)", "&&", "a b")))
    assert made.entrypoint == ("/bin/sh", "-c")
    assert made.command == ("ls $(find /files) && a b",)


@pytest.mark.parametrize("cmd", [None, ()])
def test_without_words_the_images_own_command_runs(cmd):
    made = plan(job(cmd=cmd))
    assert (made.entrypoint, made.command) == (None, None)


@pytest.mark.parametrize(
    "name",
    ["NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_REQUIRE_CUDA", "CUDA_VISIBLE_DEVICES"],
)
def test_a_job_cannot_reach_for_other_gpus(name):
    assert env_of(**{name: "all", "X": "1"}) == {"X": "1", "NVIDIA_VISIBLE_DEVICES": "void"}


def test_a_slot_with_gpus_gives_them_by_uuid_and_says_nothing_of_void():
    made = plan(job(env={"X": "1"}), Slot(0, 8192, 6, (GPU, Gpu("GPU-bbbb", "x", "y", 1))))
    assert made.gpu_uuids == ("GPU-aaaa", "GPU-bbbb")
    assert made.env == (("X", "1"),)


def test_other_variables_arrive_as_they_are():
    assert env_of(**{"A B": "1", "é": "ü=\n", "E": ""}).items() >= {"A B": "1", "é": "ü=\n", "E": ""}.items()


@pytest.mark.parametrize(
    ("slot", "setting", "expected"),
    [(8192, 0, 8192), (8192, 4096, 4096), (8192, 16384, 8192), (0, 4096, 4096), (0, 0, 0)],
)
def test_memory_is_the_slots_capped_by_the_setting(slot, setting, expected):
    made = plan(job(), Slot(0, slot, 6), Limits(memory_mib=setting))
    assert made.memory_mib == made.shm_mib == expected


@pytest.mark.parametrize(("setting", "expected"), [(0.0, 6.0), (1.5, 1.5), (12.0, 6.0)])
def test_cores_are_the_slots_capped_by_the_setting(setting, expected):
    assert plan(job(), limits=Limits(cpus=setting)).cpus == expected


def test_settings_pass_through():
    made = plan(job(), limits=Limits(network="none", shm_mib=64, pids=99, log_max_mib=5))
    assert (made.network, made.shm_mib, made.pids, made.log_max_mib) == ("none", 64, 99, 5)
    assert (made.image, made.folder) == ("lab/decode:1", "/jobs/7")


def test_capabilities_are_the_five_and_those_of_the_setting():
    five = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
    assert plan(job()).capabilities == five
    more = plan(job(), limits=Limits(capabilities=("cap_sys_nice", "CHOWN", "SYS_PTRACE")))
    assert more.capabilities == (*five, "SYS_NICE", "SYS_PTRACE")


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (job(image=""), "handler.image_url"),
        (job(image="lab/de code"), "handler.image_url"),
        (job(image=" lab/decode"), "handler.image_url"),
        (job(image="lab/decode\n"), "handler.image_url"),
        (job(image="lab/\0decode"), "handler.image_url"),
        (job(image="lab/\u00a0decode"), "handler.image_url"),
        (job(image="-v"), "handler.image_url"),
        (job(image="--privileged"), "handler.image_url"),
        (job(env={"": "x"}), "app.env"),
        (job(env={"A=B": "x"}), "app.env"),
        (job(env={"A\0": "x"}), "app.env.'A\\x00'"),
        (job(env={"A": "x\0"}), "app.env.'A'"),
        (job(env={"A": "x" * 131072}), "app.env.'A'"),
        (job(cmd=("a\0b",)), "app.cmd"),
        (job(cmd=("x" * 131072,)), "app.cmd"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_field_named(bad, field):
    with pytest.raises(JobFailed) as caught:
        plan(bad)
    assert caught.value.reason.startswith(f"{field}: ")
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 500


def test_lone_surrogates_are_refused():
    """JSON can spell them; no program can be started with them."""
    spec = JobSpec.model_construct(
        app=AppSpec.model_construct(cmd=("\ud800",), env=None), handler=HandlerSpec(image_url="x")
    )
    with pytest.raises(JobFailed, match=r"app\.cmd: is not valid Unicode"):
        plan(Job(7, spec))


def test_the_longest_command_that_linux_takes_is_taken():
    assert plan(job(cmd=("x" * 131071,))).command


def test_an_image_outside_of_the_allowed_ones_is_refused_by_naming_the_setting():
    assert plan(job(), allowed=("lab/*",))
    with pytest.raises(JobFailed, match=r"'lab/decode:1'.*ALLOWED_IMAGES"):
        plan(job(), allowed=("other/*",))


@pytest.mark.parametrize(
    ("image", "patterns", "allowed"),
    [
        ("anything", (), True),
        ("anything", ("*",), True),
        ("lab/decode", ("lab/decode",), True),
        ("lab/decode:1.2", ("lab/decode",), True),
        ("lab/decode@sha256:aa", ("lab/decode",), True),
        ("lab/decode:1@sha256:aa", ("lab/decode",), True),
        ("lab/decode:1@sha256:aa", ("lab/decode:1@sha256:*",), True),
        ("lab/decode:2", ("lab/decode:1",), False),
        ("lab/decode-evil", ("lab/decode",), False),
        ("evil/lab/decode", ("lab/decode",), False),
        ("lab/decode", ("LAB/decode",), False),
        ("host:5000/lab/decode", ("host:5000/lab/decode",), True),
        ("host:5000/lab/decode:x", ("host:5000/*",), True),
        ("host:5000/lab/decode", ("host",), False),
        ("ghcr.io/lab/a/b:1", ("ghcr.io/lab/*",), True),
        ("ghcr.io/other/a", ("x", "ghcr.io/lab/*"), False),
        ("lab/decode", ("x", "lab/decode"), True),
        ("lab/decode:v1", ("lab/decode:v[12]",), True),
        ("lab/decode:v3", ("lab/decode:v[12]",), False),
    ],
)
def test_allowed_images(image, patterns, allowed):
    assert is_image_allowed(image, patterns) is allowed


@pytest.mark.parametrize(
    ("files_up", "cmd", "expected"),
    [
        ({}, "run", ()),
        ({"output": ("output",)}, None, (("output",),)),
        ({"output": ("output",)}, "run", (("output",),)),
        ({"output": ("out",), "log": ("log",)}, "run", (("log",), ("out",))),
        ({"output": ("out",), "log": ("out",)}, "run", (("out",),)),
        ({"output": ()}, "run", ()),
        ({"output": ("a", "b")}, "run", (("a", "b"),)),
        # made by the command itself
        ({"output": ("output",)}, "mkdir /files/output && run", ()),
        ({"output": ("output",), "log": ("log",)}, "mkdir /files/output && run", (("log",),)),
        ({"output": ("output",), "log": ("log",)}, "mkdir /files/output /files/log", ()),
        ({"output": ("output",)}, "mkdir -p /files/output && run", (("output",),)),
        # a folder above or below it
        ({"output": ("a", "b", "c")}, "mkdir /files/a/b/c", (("a", "b"),)),
        ({"output": ("a", "b", "c")}, "mkdir /files/a/b", (("a",),)),
        ({"output": ("a", "b", "c")}, "mkdir /files/a", ()),
        ({"output": ("a", "b", "c")}, "mkdir /files/a/b/c; mkdir /files/a", ()),
        ({"output": ("output",), "log": ("output", "log")}, "mkdir /files/output", ()),
        ({"output": ("output",)}, "mkdir /files/output/sub", (("output",),)),
        ({"output": ("output",)}, "mkdir /files/output2", (("output",),)),
        ({"output": ("output",)}, "mkdir /output /tmp/output /filesoutput", (("output",),)),
        ({"output": ("output",)}, "mkdir /files /files/.", (("output",),)),
        ({"output": ("output",)}, "cd /files && mkdir output", ()),
        # files
        ({"log": ("log", "log.log")}, "run > /files/log/log.log", (("log",),)),
        ({"output": ("out.csv",)}, "run --out /files/out.csv", ()),
        ({"output": ("movie.h5",)}, None, ()),
        ({"output": ("x.zarr",)}, "run --out /files/x.zarr/0", (("x.zarr",),)),
        ({"output": ("out.d",)}, "run", (("out.d",),)),
        ({"output": ("model.v2",)}, "run", (("model.v2",),)),
        ({"output": ("v1.2",)}, "run", (("v1.2",),)),
        ({"output": (".hidden",)}, "run", ((".hidden",),)),
    ],
)
def test_output_folders_are_there_unless_the_command_makes_them(files_up, cmd, expected):
    assert folders_to_make(files_up, None if cmd is None else cmd.split(" ")) == expected


def test_the_jobs_variables_count_in_what_the_command_makes():
    assert folders_to_make({"output": ("o",)}, ("mkdir", "$OUT"), {"OUT": "/files/o"}) == ()
