"""Trial containers on a real engine, and what becomes of its refusals."""

import docker.errors
import pytest
import requests

from agent.adapters import engine_trial, host
from agent.adapters.engine_trial import EngineTrial
from agent.core.doctor_trial import EXIT_CODE, LABEL
from agent.core.errors import EngineTrouble
from tests.unit.adapters.test_docker_engine import errors_of, made

FOREIGN = errors_of(docker.errors) + errors_of(requests.exceptions)


@pytest.fixture
def files():
    return host.shell_files()


def ours(dockerd):
    """What of trials the engine has."""
    listed = ("ps --all --quiet", "images --quiet")
    return [dockerd.docker(*words.split(), "--filter", f"label={LABEL}") for words in listed]


@pytest.mark.docker
def test_a_trial_proves_files_log_and_exit_code(dockerd, files, tmp_path):
    """And leaves nothing behind."""
    (tmp_path / "in").write_text("word\n")
    trial = EngineTrial(dockerd.url)
    with trial.image(files) as image:
        assert dockerd.docker("images", "--quiet", image)
        ran = trial.run(image, tmp_path, tuple(files))
    assert (ran.exit_code, ran.log.strip()) == (EXIT_CODE, "word")
    assert (tmp_path / "out").read_text() == "word\n"
    assert ours(dockerd) == ["", ""]


@pytest.mark.docker
def test_a_trial_without_its_file_fails(dockerd, files, tmp_path):
    """Another exit code: the test has teeth."""
    trial = EngineTrial(dockerd.url)
    with trial.image(files) as image:
        assert trial.run(image, tmp_path, tuple(files)).exit_code == 3


@pytest.mark.docker
@pytest.mark.parametrize("trouble", ["folder", "gpu"])
def test_a_refused_trial_leaves_nothing(dockerd, files, tmp_path, trouble):
    """Docker's words come through; its half-made container is removed."""
    trial = EngineTrial(dockerd.url)
    folder = tmp_path / "missing" if trouble == "folder" else tmp_path
    uuids = ("GPU-1",) if trouble == "gpu" else ()
    words = {"folder": "bind source path does not exist", "gpu": "could not select device driver"}
    with pytest.raises(EngineTrouble, match=words[trouble]), trial.image(files) as image:
        trial.run(image, folder, tuple(files), uuids)
    assert ours(dockerd) == ["", ""]


@pytest.mark.docker
def test_what_a_killed_doctor_left_is_removed(dockerd, files, tmp_path, monkeypatch):
    """Once it is old: a young one may belong to a doctor that is at work."""
    trial = EngineTrial(dockerd.url)
    forgotten = trial.image(files)
    name = forgotten.__enter__()
    dockerd.docker("create", "--label", f"{LABEL}=1", name, "/bin/sh")
    with trial.image(files):
        assert len(ours(dockerd)[1].split()) == 2
    assert all(ours(dockerd))
    monkeypatch.setattr(engine_trial, "_LEFT_OVER_S", -60)
    with trial.image(files) as image:
        trial.run(image, tmp_path, tuple(files))
    assert ours(dockerd) == ["", ""]
    with pytest.raises(StopIteration):  # its own end finds nothing and says nothing
        next(forgotten.gen)


@pytest.mark.docker
def test_info(dockerd):
    """As a mapping, with what the judgement reads."""
    assert EngineTrial(dockerd.url).info()["DockerRootDir"] == str(dockerd.folder / "data")


@pytest.mark.docker
def test_a_frozen_engine_is_trouble_in_time(dockerd):
    """Each call is bounded."""
    dockerd.pause()
    with pytest.raises(EngineTrouble, match="timed out"):
        EngineTrial(dockerd.url, timeout_s=1).info()


def test_no_engine(tmp_path):
    """Trouble with the cause."""
    with pytest.raises(EngineTrouble, match="No such file or directory"):
        EngineTrial(f"unix://{tmp_path}/nothing").info()


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: error.__qualname__)
def test_every_foreign_error_becomes_ours(error, monkeypatch):
    """docker-py's and requests' errors do not leave the adapter."""

    def fail(*_, **__):
        raise made(error)

    monkeypatch.setattr(engine_trial, "APIClient", fail)
    with pytest.raises(EngineTrouble):
        EngineTrial("unix:///nowhere").info()
