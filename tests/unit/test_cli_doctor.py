"""`decode-agent doctor` against the stand-in of the API and a real engine; systemd is played by answers."""

import json
import os
import shutil
import subprocess
import threading
import time
from argparse import Namespace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from agent.adapters import host, host_systemd
from agent.adapters.host_command import Ended
from agent.cli import connect, doctor, doctor_repair, doctor_service, main
from agent.cli.doctor_case import Case, Check
from agent.cli.trial import SlotTrial
from agent.core.doctor_sandbox import UnitReport
from agent.core.errors import HostTrouble
from agent.core.findings import Finding, Repair, State
from agent.core.models import Gpu, Slot
from mock_api.server import RunningMock
from tests.engine_host import Dockerd, why_no_engine
from tests.fakes.waiting import LONG_S, SOON_S

NVML = Path(__file__).parents[1] / "fakes/nvml/nvml.c"
COMMAND = "/opt/decode-agent/bin/decode-agent"
SHOWN = (
    f"LoadState=loaded\nActiveState=active\nSubState=running\nWatchdogUSec=3min\n"
    f"ExecStart={{ path={COMMAND} ; argv[]={COMMAND} run ; }}\nUser=decode-agent\n"
)
SECRET = "worker1-password"


@pytest.fixture(scope="module")
def mock():
    with RunningMock() as running:
        yield running


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path, mock):
    """A machine without systemd, GPUs and Docker, whose settings are in the environment."""
    monkeypatch.setattr(host_systemd, "is_booted", lambda: False)
    monkeypatch.setattr(connect.truststore, "inject_into_ssl", lambda: None)
    monkeypatch.setattr(host, "nvidia_on_bus", lambda: ())
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setattr(host, "apt_config", lambda: "")
    for name in [
        name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("DECODE_")
    ]:
        monkeypatch.delenv(name)
    settings = {
        "API_URL": mock.url,
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": mock.url,
        "USERNAME": "worker1@example.com",
        "PASSWORD": SECRET,
        "STATE_DIR": str(tmp_path / "state"),
        "DOCKER_HOST": f"unix://{tmp_path}/no-docker",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"DECODE_{name}", value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def systemd(monkeypatch):
    """A running service; returns what its trial answers, for the test to change."""
    answer = {"report": UnitReport((), {}, None), "code": 0, "err": ""}

    def trial(properties, command, limit_s):
        del limit_s
        answer["asked"] = (properties, command)
        out = TypeAdapter(UnitReport).dump_json(answer["report"]).decode() if answer["report"] else ""
        return Ended(answer["code"], out, answer["err"])

    monkeypatch.setattr(host_systemd, "is_booted", lambda: True)
    monkeypatch.setattr(host_systemd, "show_unit", lambda *_: SHOWN)
    monkeypatch.setattr(host_systemd, "enablement_of", lambda _: "enabled")
    monkeypatch.setattr(host_systemd, "cat_unit", lambda *_: "[Service]\nUser=decode-agent\n")
    monkeypatch.setattr(host_systemd, "run_trial", trial)
    monkeypatch.setattr(host, "program_version", lambda _: "")
    monkeypatch.setattr(doctor_service, "_running_version", lambda: ("", ""))
    monkeypatch.setattr(host, "is_root", lambda: True)
    return answer


def examined(capsys, *arguments):
    """The exit code, and the findings."""
    code = main(["doctor", "--json", *arguments])
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert err == ""
    said = json.loads(out)
    return code, [Finding(**{**one, "state": State(one["state"])}) for one in said["findings"]]


def about(findings, what):
    return [one for one in findings if one.about == what]


@pytest.mark.docker
def test_a_machine_that_is_well(capsys, monkeypatch, dockerd, mock):
    """0; a container ran and left nothing; no job was claimed, no folder made."""
    monkeypatch.setenv("DECODE_DOCKER_HOST", dockerd.url)
    images = set(dockerd.docker("images", "--quiet").split())
    job_id = mock.submit(image="demo:2")
    code, findings = examined(capsys)
    assert code == 0, findings
    assert about(findings, "container")[0].state is State.OK
    assert "CPU worker" in about(findings, "gpu")[0].text
    assert about(findings, "clock")[0].text.startswith("agrees")
    assert dockerd.docker("ps", "--all", "--quiet") == ""
    assert set(dockerd.docker("images", "--quiet").split()) == images
    assert mock.job(job_id).status == "queued"
    assert os.listdir() == []  # noqa: PTH208  the folder that everything is in


def test_lines_for_people(capsys):
    """Each with its fix below; 1 because there is no Docker, and what needs it is skipped."""
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("failed   docker ") for line in lines)
    assert any(line.startswith("skipped  container ") for line in lines)
    assert any("→ start it: sudo systemctl start docker" in line for line in lines)


def test_without_a_container(capsys, monkeypatch, dockerd):
    """Nothing is created in Docker."""
    monkeypatch.setenv("DECODE_DOCKER_HOST", dockerd.url)
    _, findings = examined(capsys, "--no-container")
    assert about(findings, "container") == [
        Finding("container", State.SKIPPED, "no test container, as asked for")
    ]


def test_bad_settings(capsys, monkeypatch):
    """78; what needs no settings is looked at all the same."""
    monkeypatch.setenv("DECODE_TRANSFERS", "x")
    code, findings = examined(capsys)
    assert code == 78
    assert about(findings, "settings")[0].state is State.FAILED
    assert about(findings, "login")[0].state is State.SKIPPED
    assert about(findings, "disk")


def test_a_wrong_password(capsys, monkeypatch):
    """The password is not shown, the rest goes on."""
    monkeypatch.setenv("DECODE_PASSWORD", "wrong-one-here")
    code, findings = examined(capsys)
    assert code == 1
    assert about(findings, "login")[0].state is State.FAILED
    assert "wrong-one-here" not in str(findings)
    assert about(findings, "proxy")


def test_no_finding_tells_a_secret(capsys, monkeypatch):
    """Whatever a library may put into its error, outside and inside the unit."""
    leak = Finding("docker", State.FAILED, f"boom {SECRET}", f"no {SECRET}")
    monkeypatch.setattr("agent.cli.doctor_engine.docker_finding", lambda _: leak)
    monkeypatch.setattr("agent.cli.doctor_unit.docker_finding", lambda _: leak)
    _, findings = examined(capsys)  # which looks for the secret
    assert about(findings, "docker")[0].text == "boom [hidden]"
    main(["doctor", "--from-unit"])
    assert SECRET not in capsys.readouterr().out


def test_the_service_is_asked_from_its_inside(capsys, systemd):
    """By its own program, under its own conditions, with the settings that it reads; its words are shown."""
    credentials = Finding("credentials", State.FAILED, "the service: no credentials", "log in")
    systemd["report"] = UnitReport((credentials,), {"HTTPS_PROXY": "http://p"}, None)
    code, findings = examined(capsys, "--no-container")
    assert code == 1
    assert credentials in findings
    assert systemd["asked"][0] == ("User=decode-agent",)
    assert systemd["asked"][1] == [COMMAND, "doctor", "--from-unit"]
    assert about(findings, "proxy")[0].text == "http://p (the service)"


def test_the_same_trouble_is_said_once(capsys, systemd):
    """Docker is away: that the service does not reach it either is no news. That its folder is closed is."""
    docker = Finding("docker", State.FAILED, "cannot be reached", "x")
    folder = Finding("folders", State.FAILED, "STATE_DIR=/s: cannot write in /s (denied)", "x")
    systemd["report"] = UnitReport((docker, folder), {}, None)
    _, findings = examined(capsys)
    assert docker not in findings
    assert "ReadWritePaths=/s" in about(findings, "folders")[0].fix


@pytest.mark.parametrize(("code", "name"), [(243, "credentials"), (None, "sandbox"), (2, "sandbox")])
def test_a_trial_that_says_nothing(capsys, systemd, code, name):
    """It is a failure, and the groups are looked at instead."""
    systemd.update(report=None, code=code)
    exit_code, findings = examined(capsys, "--no-container")
    assert exit_code == 1
    assert about(findings, name)[-1].state is State.FAILED


def test_from_the_units_inside(capsys, tmp_path):
    """The trial's answer is a `UnitReport` without a secret, whatever is wrong; its exit code is 0."""
    assert main(["doctor", "--from-unit"]) == 0
    out = capsys.readouterr().out
    report = TypeAdapter(UnitReport).validate_json(out)
    assert SECRET not in out
    by_name = {one.about: one for one in report.findings}
    assert by_name["credentials"].text.startswith("the service can read them: worker1@example.com")
    assert (by_name["api"].state, by_name["docker"].state) == (State.OK, State.FAILED)
    assert str(tmp_path / "state") in str(report.findings)


def test_from_the_units_inside_with_bad_settings(capsys, monkeypatch):
    """They are told."""
    monkeypatch.setenv("DECODE_TRANSFERS", "x")
    assert main(["doctor", "--from-unit"]) == 0
    report = TypeAdapter(UnitReport).validate_json(capsys.readouterr().out)
    assert [one.about for one in report.findings] == ["settings"]


def test_without_root(capsys, systemd, monkeypatch):
    """What may not be seen is skipped with `needs root`, and is no failure."""
    del systemd
    monkeypatch.setattr(host, "is_root", lambda: False)

    def denied(_):
        raise connect.ConfigError("the env file /etc/x cannot be read (permission denied): run this as root")

    monkeypatch.setattr(doctor_service, "read", denied)
    _, findings = examined(capsys, "--fix")
    skipped = {one.about for one in findings if one.state is State.SKIPPED and "needs root" in one.text}
    assert {"fix", "settings", "sandbox"} <= skipped


def case(**arguments):
    return Case(Namespace(**{"fix": False, "env_file": None} | arguments))


def test_a_check_that_hangs_hides_no_other():
    """It is a failure with the limit; what it found before counts."""
    over = threading.Event()

    def hang(_):
        yield Finding("a", State.OK, "first")
        over.wait(LONG_S)

    began = time.monotonic()
    findings = list(
        doctor.examine(case(), (Check("a", "hanging", hang, 0.2), Check("b", "b", lambda _: [], 5)))
    )
    over.set()
    assert time.monotonic() - began < SOON_S
    assert [one.text for one in findings] == ["first", "no answer within 0 s (hanging)"]
    assert findings[-1].state is State.FAILED


@pytest.mark.parametrize(
    ("error", "text"), [(HostTrouble("away"), "away"), (KeyError("x"), "unexpected KeyError")]
)
def test_a_check_that_breaks_hides_no_other(error, text):
    """Trouble, and a mistake of ours, are findings."""

    def fail(_):
        raise error

    fine = Finding("b", State.OK, "fine")
    findings = list(doctor.examine(case(), (Check("a", "a", fail, 5), Check("b", "b", lambda _: [fine], 5))))
    assert text in findings[0].text
    assert findings[1] == fine


def test_fixing_is_said_and_looked_at_again(monkeypatch):
    """What was mended counts as it is afterwards; each deed is one line, and done once."""
    done = []
    monkeypatch.setattr(host, "is_root", lambda: True)
    monkeypatch.setattr(
        doctor, "repair", lambda what: done.append(what) or Finding("fix", State.OK, f"done: {what}")
    )

    def look(_):
        state = State.OK if done else State.FAILED
        return [Finding("a", state, "x", "", None if done else Repair.START_UNIT)] * 2

    check = Check("a", "a", look, 5)
    found = list(doctor.examine(case(fix=True), (check,)))
    assert [one.state for one in found] == [State.OK] * 3
    assert done == [Repair.START_UNIT]
    done.clear()
    assert not any(one.about == "fix" for one in doctor.examine(case(), (check,)))
    assert done == []


def test_fixing_in_vain(monkeypatch):
    """A deed that fails is a failure; what was found stays."""
    monkeypatch.setattr(host, "is_root", lambda: True)
    monkeypatch.setattr(doctor, "repair", lambda _: Finding("fix", State.FAILED, "no"))
    wrong = Finding("a", State.WARNING, "x", "y", Repair.SYNC_CLOCK)
    found = list(doctor.examine(case(fix=True), (Check("a", "a", lambda _: [wrong], 5),)))
    assert found == [Finding("fix", State.FAILED, "no"), wrong]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (Repair.ENABLE_UNIT, "systemctl enable --no-reload decode-agent.service"),
        (Repair.START_UNIT, "systemctl start decode-agent.service"),
        (Repair.SYNC_CLOCK, "timedatectl set-ntp true"),
    ],
)
def test_what_fix_runs(monkeypatch, what, words):
    """These commands and no others; none touches Docker, none reloads systemd."""
    ran = []
    monkeypatch.setattr(doctor_repair, "run", lambda argv, _: ran.append(" ".join(argv)) or Ended(0, "", ""))
    assert doctor_repair.repair(what) == Finding("fix", State.OK, f"done: {words}")
    assert ran == [words]
    monkeypatch.setattr(doctor_repair, "run", lambda *_: Ended(1, "", "not supported\n"))
    assert doctor_repair.repair(what) == Finding("fix", State.FAILED, f"{words}: not supported")


def test_fix_writes_the_override(monkeypatch, tmp_path):
    """Where needrestart looks for it; a place that cannot be written is told."""
    path = tmp_path / "conf.d/decode-agent.conf"
    monkeypatch.setattr(doctor_repair, "NEEDRESTART_FILE", str(path))
    assert doctor_repair.repair(Repair.WRITE_NEEDRESTART).state is State.OK
    assert "override_rc" in path.read_text()
    monkeypatch.setattr(doctor_repair, "NEEDRESTART_FILE", "/proc/x/y")
    assert doctor_repair.repair(Repair.WRITE_NEEDRESTART).state is State.FAILED


# --- GPUs, by a stand-in of NVML and of NVIDIA's container toolkit -------------------------------------

# Called as runc calls a prestart hook, with the container's state on stdin. It gives device 1:3 as the GPU.
HOOK = """#!/bin/bash
state=$(cat)
pid=$(grep -o '"pid": *[0-9]*' <<<"$state" | grep -o '[0-9]*')
bundle=$(grep -o '"bundle": *"[^"]*"' <<<"$state" | cut -d'"' -f4)
root=$(grep -o '"path": *"[^"]*"' "$bundle/config.json" | cut -d'"' -f4 | grep merged | head -n 1)
nsenter -t "$pid" -m mknod -m 666 "$root/dev/nvidia0" c 1 3
"""


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory):
    """An engine whose containers get a GPU, and NVML's stand-in."""
    reason = why_no_engine() or (None if shutil.which("gcc") else "not installed: gcc")
    if reason:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("toolkit")
    hook = folder / "nvidia-container-runtime-hook"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    library = ["gcc", "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(NVML)]
    subprocess.run(library, check=True)
    daemon = Dockerd(folder)
    try:
        daemon.start()
        yield folder, daemon
    finally:
        daemon.stop()


@pytest.fixture
def gpus(toolkit, monkeypatch, tmp_path):
    """Tells NVML's stand-in what to say."""
    folder, daemon = toolkit
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    monkeypatch.setenv("NVML_FAKE_FILE", str(tmp_path / "gpus"))
    monkeypatch.setenv("DECODE_DOCKER_HOST", daemon.url)
    return (tmp_path / "gpus").write_text


@pytest.mark.docker
def test_a_gpu_on_the_machine_and_in_a_container(capsys, gpus, systemd):
    """By its UUID, through Docker's own way of giving GPUs; the service sees it too."""
    gpus("gpu 0 8 25757220864 GPU-1111-aaaa NVIDIA GeForce RTX 4090\n")
    systemd["report"] = UnitReport((), {}, 1)
    _, findings = examined(capsys)
    assert [one.text for one in about(findings, "gpu")] == [
        "NVIDIA GeForce RTX 4090, 24 GiB, GPU-1111-aaaa",
        "the service sees 1",
    ]
    inside = about(findings, "gpu-job")
    assert [(one.state, one.text) for one in inside] == [
        (State.OK, "a container gets its GPUs by NVIDIA's hook: it has /dev/nvidia0")
    ]
    assert about(findings, "reload")


@pytest.mark.docker
def test_a_container_that_gets_too_few(capsys, gpus):
    """Two are asked for, one comes: no job should find that out."""
    gpus("".join(f"gpu 0 8 1073741824 GPU-{each} RTX\n" for each in (1, 2)))
    code, findings = examined(capsys)
    assert code == 1
    assert about(findings, "gpu-job")[0].state is State.FAILED


@pytest.mark.docker
def test_gpus_that_jobs_do_not_get(capsys, gpus, monkeypatch):
    """GPUS=none: the owner keeps them, so nothing of theirs is looked at."""
    gpus("init 18\n")
    monkeypatch.setenv("DECODE_GPUS", "none")
    _, findings = examined(capsys, "--no-container")
    assert [one.text for one in about(findings, "gpu")] == ["GPUS=none: jobs get no GPU"]


@pytest.mark.docker
def test_gpu_troubles_are_findings(capsys, gpus):
    """A driver that disagrees with its library; a GPU that is lost beside one that works."""
    gpus("init 18\n")
    _, findings = examined(capsys, "--no-container")
    assert "do not reinstall" in about(findings, "gpu")[0].fix
    gpus("gpu 15 8 1 GPU-dead Dead\ngpu 0 8 1073741824 GPU-1 RTX\n")
    _, findings = examined(capsys, "--no-container")
    assert [one.state for one in about(findings, "gpu")] == [State.OK, State.FAILED]


@pytest.mark.docker
def test_a_machine_without_the_toolkit(capsys, gpus, monkeypatch, dockerd):
    """It is named, with how to install it."""
    gpus("gpu 0 8 1073741824 GPU-1 RTX\n")
    monkeypatch.setenv("DECODE_DOCKER_HOST", dockerd.url)
    _, findings = examined(capsys)
    assert "container toolkit is missing" in about(findings, "gpu-job")[0].text


# the self-test of a slot that rests


def slot_with(*uuids):
    return Slot(0, 1024, 1, tuple(Gpu(uuid, "RTX", "ada", 1024) for uuid in uuids))


@pytest.mark.docker
def test_a_slot_proves_itself(toolkit, tmp_path):
    """By a container with a folder, and one that gets its GPU; nothing is left."""
    _, daemon = toolkit
    SlotTrial(daemon.url, tmp_path / "jobs")(slot_with("GPU-1111-aaaa"))
    SlotTrial(daemon.url, tmp_path / "jobs")(slot_with())
    assert not list(tmp_path.iterdir())
    assert daemon.docker("ps", "--all", "--quiet") == ""
    assert daemon.docker("images", "--quiet", "--filter", "label=decode-agent.selftest") == ""


@pytest.mark.docker
def test_a_slot_that_does_not_get_all_its_gpus_rests_on(toolkit, tmp_path):
    """A container that runs is not enough."""
    _, daemon = toolkit
    with pytest.raises(HostTrouble, match="a container that asked for GPU-1, GPU-2 was given"):
        SlotTrial(daemon.url, tmp_path)(slot_with("GPU-1", "GPU-2"))


@pytest.mark.docker
def test_a_slot_whose_docker_gives_no_gpu_rests_on(dockerd, tmp_path):
    """It is said what is missing; without a GPU to give it would pass."""
    trial = SlotTrial(dockerd.url, tmp_path)
    trial(slot_with())
    with pytest.raises(HostTrouble, match="NVIDIA's container toolkit is missing"):
        trial(slot_with("GPU-1"))


def test_a_slot_without_docker_rests_on(tmp_path):
    """In its own words."""
    with pytest.raises(HostTrouble, match="a test container cannot be run: Docker cannot be reached"):
        SlotTrial(f"unix://{tmp_path}/nothing", tmp_path)(slot_with())
