"""What trial containers are made of, and what they said."""

import pytest

from agent.core.doctor_gpu import InsideFacts
from agent.core.doctor_trial import inside_facts_of, libraries_in, more_libraries, plan_trial

DEBIAN = """\
\tlinux-vdso.so.1 (0x00007ffff7fc1000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f06b0bc0000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f06b2b10000)
"""


@pytest.mark.parametrize(
    ("said", "libraries"),
    [
        (DEBIAN, ("/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2")),
        ("\tlibx.so => not found\n", ()),
        ("\tnot a dynamic executable\n", ()),
        ("", ()),
    ],
)
def test_libraries(said, libraries):
    """The paths that ldd names; a shell that is linked statically needs none."""
    assert libraries_in(said) == libraries


def test_more_libraries_lie_beside_the_c_library():
    """nvidia-smi, which the toolkit puts into the container, needs more of it than a shell."""
    found = more_libraries(("/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"))
    assert found[0] == "/lib/x/libm.so.6"
    assert more_libraries(()) == ()


def test_a_trial_is_no_job():
    """No label of a job's: no agent takes it for its own and removes it."""
    plan = plan_trial("n", "i", "/folder", ("/lib/x/libc.so.6", "/lib64/ld.so"))
    assert not [name for name, _ in plan.labels if "job" in name or "agent-id" in name]
    assert dict(plan.env) == {"LD_LIBRARY_PATH": "/lib/x:/lib64"}
    assert plan.folder == "/folder"


SMI = "GPU 0: NVIDIA RTX 4090 (UUID: GPU-1-2)\n"


@pytest.mark.parametrize(
    ("log", "facts"),
    [
        ("visible=GPU-1-2\ndevice=/dev/nvidia0\n", InsideFacts(("a",), "GPU-1-2", ("/dev/nvidia0",))),
        ("visible=\n", InsideFacts(("a",))),
        ("", InsideFacts(("a",))),
        (f"visible=void\n{SMI}smi=0\n", InsideFacts(("a",), "void", (), ("GPU-1-2",))),
        ("visible=x\nNo devices were found\nsmi=6\n", InsideFacts(("a",), "x", (), ())),
        # It could not even be started, for want of a library: that says nothing about GPUs.
        ("visible=x\nerror while loading\nsmi=127\n", InsideFacts(("a",), "x")),
    ],
)
def test_what_a_container_with_gpus_said(log, facts):
    """Name, devices, and what nvidia-smi lists where it runs."""
    assert inside_facts_of(("a",), log) == facts
