"""The settings read again while the agent runs."""

import logging
from argparse import Namespace

import pytest

from agent.cli.meaning import LIVE, Rereading, options_of, policy_of
from agent.core.errors import ConfigError
from agent.core.health import JOB_LIMIT_S
from agent.core.models import Gpu
from agent.core.slots import Machine
from agent.settings import NAMES, SECRETS, load_settings

MACHINE = Machine(65536, 16, (Gpu("GPU-1", "RTX 4090", "ada", 24576),))
LATER = {
    "API_URL",
    "ACCESS_TOKEN",
    "USERNAME",
    "PASSWORD",
    "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER",
    "STATE_DIR",
    "PATH_HOST_BASE",
    "PATH_BASE",
    "DOCKER_HOST",
    "IMAGE_PULL_IDLE",
    "GPUS",
    "TRANSFER_TIMEOUT",
    "TRANSFER_FLOOR_KIB_S",
}


class Lab:
    """An env file, and an agent that was started with it."""

    def __init__(self, path, monkeypatch):
        self.path = path
        monkeypatch.setattr("os.environ", {})
        self.write()
        self.arguments = Namespace(env_file=path, log_level=None, once=False, until_idle=False)
        self.reread = Rereading(self.arguments, load_settings(path, {}, path.parent), MACHINE)

    def write(self, **settings):
        values = {"API_URL": "https://a", "USERNAME": "u", "PASSWORD": "old s3cret"} | settings
        self.path.write_text("".join(f'{name}="{value}"\n' for name, value in values.items()))


@pytest.fixture
def lab(tmp_path, monkeypatch):
    level = logging.getLogger("agent").level
    yield Lab(tmp_path / "lab.env", monkeypatch)
    logging.getLogger("agent").setLevel(level)


def test_every_setting_is_on_one_list():
    """Whoever adds one decides whether it can change while jobs run."""
    assert set(NAMES) == LIVE | LATER
    assert not LIVE & (LATER | SECRETS)


def test_nothing_changed(lab):
    """What holds is what held."""
    assert lab.reread().sentences == ()


def test_what_can_change_now_changes(lab):
    """The look, the groups, the next job's limits, its slot, the beat, the level of the log."""
    lab.write(
        TIMEOUT_JOB="5",
        TIMEOUT_STATUS="10",
        GROUPS="lab",
        JOB_MEMORY_MIB="2048",
        JOB_CPUS="2",
        IMAGE_PULL="never",
        LOG_LEVEL="debug",
    )
    renewed = lab.reread()
    assert renewed.options == options_of(load_settings(lab.path, {}, lab.path.parent), lab.arguments)
    assert (renewed.policy.pull, renewed.policy.limits.memory_mib, renewed.beat_s) == ("never", 2048, 10.0)
    assert [(slot.memory_mib, slot.cpu_cores, slot.gpus) for slot in renewed.slots] == [
        (2048, 2, MACHINE.gpus)
    ]
    assert logging.getLogger("agent").level == logging.DEBUG
    assert len(renewed.sentences) == 7
    assert "JOB_MEMORY_MIB is 2048 now (was not set)" in renewed.sentences
    assert lab.reread().sentences == ()


def test_what_concerns_the_disks_changes_now(lab):
    """For the next look, and for the jobs begun from then on."""
    lab.write(MIN_FREE_DISK_GIB="0.5", LEFTOVER_GRACE="1h")
    renewed = lab.reread()
    assert (renewed.options.min_free_bytes, renewed.options.leftover_grace_s) == (512 * 1024**2, 3600.0)
    assert renewed.policy.min_free_bytes == 512 * 1024**2


def test_what_waits_for_a_restart_is_said_until_then(lab):
    """It counts nowhere, and no secret is shown."""
    lab.write(API_URL="https://b", PASSWORD="new s3cret", TRANSFER_TIMEOUT="1h")
    for _ in range(2):
        renewed = lab.reread()
        assert renewed.sentences == (
            "API_URL has changed: takes effect at the next restart",
            "PASSWORD has changed: takes effect at the next restart",
            "TRANSFER_TIMEOUT has changed: takes effect at the next restart",
        )
        assert renewed.policy.allowed_silence_s == JOB_LIMIT_S


def test_bad_settings_are_refused_as_a_whole(lab):
    """The good ones among them do not count either."""
    lab.write(TIMEOUT_JOB="5", TRANSFERS="many")
    with pytest.raises(ConfigError, match="TRANSFERS=many"):
        lab.reread()
    lab.write()
    assert lab.reread().sentences == ()


def test_long_waits_in_the_settings_count_as_life(lab):
    """Who lets a registry be silent for a day has not asked for a restart."""
    lab.write(IMAGE_PULL_IDLE="1d")
    assert policy_of(load_settings(lab.path, {}, lab.path.parent)).allowed_silence_s > 86400
