"""What is made of `docker info` and of a trial container's end."""

from dataclasses import replace

import pytest

from agent.core.doctor_engine import (
    EngineFacts,
    ReloadFacts,
    Trial,
    engine_facts_of,
    engine_findings,
    refusal_finding,
    reload_finding,
    trial_finding,
)
from agent.core.findings import State

GOOD = EngineFacts("20.10.24", "/var/lib/docker", "overlay2", "systemd", live_restore=True)


def test_facts():
    """As Docker 20.10 tells them, and what later versions add."""
    info = {
        "ServerVersion": "20.10.24",
        "DockerRootDir": "/var/lib/docker",
        "Driver": "overlay2",
        "CgroupDriver": "systemd",
        "LiveRestoreEnabled": True,
        "SecurityOptions": ["name=seccomp,profile=default"],
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
    }
    assert engine_facts_of(info) == replace(GOOD, proxies={})
    later = {"SecurityOptions": ["name=rootless"], "CDISpecDirs": ["/etc/cdi"], "HttpsProxy": "http://p"}
    assert engine_facts_of(later) == EngineFacts(
        is_rootless=True, cdi_folders=("/etc/cdi",), proxies={"HTTPS_PROXY": "http://p"}
    )
    assert engine_facts_of({"SecurityOptions": None, "CDISpecDirs": None}).cdi_folders == ()


@pytest.mark.parametrize(
    ("engine", "state", "text"),
    [
        (GOOD, State.OK, "live-restore is on"),
        (replace(GOOD, live_restore=False), State.WARNING, "live-restore is off"),
        (replace(GOOD, storage_driver="vfs"), State.WARNING, "storage driver is vfs"),
        (replace(GOOD, root="/var/snap/docker/common/var-lib-docker"), State.WARNING, "snap package"),
        (replace(GOOD, is_rootless=True), State.WARNING, "rootless"),
    ],
)
def test_how_docker_is_set_up(engine, state, text):
    """Each oddity is one line with its fix."""
    found = next(one for one in engine_findings(engine) if text in one.text)
    assert found.state is state
    assert bool(found.fix) == (state is not State.OK)


@pytest.mark.parametrize(
    ("facts", "state", "why"),
    [
        (ReloadFacts("cgroupfs", False, False, False), State.OK, "cgroupfs"),
        (ReloadFacts("systemd", True, True, False), State.OK, "CDI gives"),
        (ReloadFacts("systemd", False, False, True), State.OK, "/dev/char"),
        (ReloadFacts("systemd", None, True, False), State.OK, "there are CDI specs"),
        (ReloadFacts("systemd", None, False, False), State.WARNING, "takes running jobs"),
        # Specs that are not used help nobody: the container was seen to get its GPU by the hook.
        (ReloadFacts("systemd", False, True, False), State.WARNING, "takes running jobs"),
        (ReloadFacts("", False, False, False), State.WARNING, "takes running jobs"),
    ],
)
def test_daemon_reload(facts, state, why):
    """Only the systemd driver with the hook and without links loses GPUs (nvidia-container-toolkit#48)."""
    found = reload_finding(facts)
    assert (found.state, why in found.text) == (state, True)


WANTED = {"file": "w", "exit": "7", "log": "w"}


@pytest.mark.parametrize(
    ("got", "state", "part"),
    [
        (WANTED, State.OK, "/files, log and exit code arrive (1.5 s)"),
        ({"file": "", "exit": "3", "log": ""}, State.FAILED, "does not see the files in /jobs"),
        ({"file": "", "exit": "7", "log": "w"}, State.FAILED, "does not see the files in /jobs"),
        ({"file": "w", "exit": "7", "log": ""}, State.FAILED, "log (nothing) in place of w"),
        ({"file": "w", "exit": "137", "log": "w"}, State.FAILED, "exit 137 in place of 7"),
    ],
)
def test_a_trial_container(got, state, part):
    """File, exit code and log each have to arrive; a file that does not points at where Docker runs."""
    found = trial_finding(Trial(WANTED, got, 1.5), "/jobs")
    assert (found.state, part in found.text) == (state, True)


@pytest.mark.parametrize(
    ("refusal", "fix"),
    [
        ("write /var/lib/docker/tmp/x: no space left on device", "docker image rm"),
        ("cgroups: cgroup mountpoint does not exist: unknown", "cgroups"),
        ('invalid mount config for type "bind": bind source path does not exist: /x', "own folders"),
        ("something else", "journalctl -u docker"),
    ],
)
def test_a_refused_container(refusal, fix):
    """Docker's own words, and what helps."""
    found = refusal_finding(refusal)
    assert found.state is State.FAILED
    assert refusal in found.text
    assert fix in found.fix
