"""What can be set, where it comes from, and how a wrong value is told."""

import re
from pathlib import Path

import pytest
from dotenv.parser import parse_stream
from pydantic import ValidationError

from agent.core.engine_models import ImagePull
from agent.core.errors import ConfigError
from agent.core.sources import choose, parse_env_file
from agent.settings import NAMES, Settings, load_settings, read_settings

ROOT = Path(__file__).parents[2]
GOOD = {"DECODE_API_URL": "https://api.test", "DECODE_ACCESS_TOKEN": "t0k.e.n"}


@pytest.fixture
def read(tmp_path):
    """Reads settings with the text of a `.env` file, away from this machine's own files."""

    def read(text="", environ=GOOD):
        if text:
            (tmp_path / ".env").write_text(text)
        return read_settings(None, environ, tmp_path, tmp_path / "system.env")

    return read


@pytest.fixture
def problem(read):
    def problem(text="", environ=GOOD):
        with pytest.raises(ConfigError) as caught:
            read(text, environ)
        return str(caught.value)

    return problem


@pytest.mark.parametrize(
    ("environ", "text", "expected"),
    [
        ({"DECODE_JOB_PIDS": "100", "JOB_PIDS": "300"}, "JOB_PIDS=200", 100),
        ({"DECODE_JOB_PIDS": "100"}, "DECODE_JOB_PIDS=200", 100),
        ({"JOB_PIDS": "300"}, "JOB_PIDS=200", 200),
        ({"JOB_PIDS": "300"}, "DECODE_JOB_PIDS=200", 200),
        ({"JOB_PIDS": "300"}, "", 300),
        ({"JOB_PIDS": "300"}, "JOB_PIDS=", 300),
        ({"DECODE_JOB_PIDS": ""}, "JOB_PIDS=200", 200),
        ({}, "JOB_PIDS=200\nJOB_PIDS=250", 250),
        ({}, "", 4096),
    ],
)
def test_order_of_sources(read, environ, text, expected):
    """DECODE_<NAME> in the environment, then the file, then the bare name; empty is not set."""
    assert read(text, GOOD | environ).settings.job_pids == expected


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"USERNAME"}))
def test_every_setting_has_all_sources(name):
    """The rule is one for all settings (USERNAME has one of its own)."""
    prefixed = f"DECODE_{name}"
    for environ, text in (
        ({prefixed: "x"}, f"{name}=y"),
        ({name: "y"}, f"{prefixed}=x"),
        ({name: "y"}, f"{name}=x"),
        ({name: "x"}, ""),
    ):
        choice = choose(NAMES, parse_env_file(text, "file"), environ)
        assert {key: given.value for key, given in choice.given.items()} == {name: "x"}


@pytest.mark.parametrize(
    ("environ", "text", "username"),
    [
        ({"USERNAME": "shell"}, "USERNAME=worker\nPASSWORD=p", "worker"),
        ({"USERNAME": "shell"}, "", None),
        ({"USERNAME": "worker", "PASSWORD": "p"}, "", "worker"),
        ({"USERNAME": "worker", "DECODE_PASSWORD": "p"}, "", "worker"),
        ({"USERNAME": "shell", "DECODE_USERNAME": "worker", "PASSWORD": "p"}, "", "worker"),
    ],
)
def test_bare_username_counts_only_beside_a_password(read, environ, text, username):
    """Login shells set USERNAME to somebody who is no account."""
    assert read(text, GOOD | environ).settings.username == username


def test_bare_username_does_not_meet_the_files_password(problem):
    """The password of the file is not tried with the name of whoever is logged in."""
    said = problem("PASSWORD=p", {"DECODE_API_URL": "https://api.test", "USERNAME": "shell"})
    assert "USERNAME is not" in said


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("PASSWORD=plain", "plain"),
        ("PASSWORD = spaced  # comment", "spaced"),
        ("export PASSWORD='a # b'", "a # b"),
        ('PASSWORD="a\\"b"', 'a"b'),
        ("PASSWORD=a#b", "a#b"),
        ("PASSWORD=${HOME}$x", "${HOME}$x"),
        ("\ufeffPASSWORD=bom", "bom"),
        ("# PASSWORD=no\r\nPASSWORD=crlf\r\n", "crlf"),
        ("PASSWORD=pässwörd=", "pässwörd="),
    ],
)
def test_lines_of_the_env_file(read, line, value):
    """Quotes, comments, `export`, CRLF and a BOM as python-dotenv reads them; values stay literal."""
    password = read(f"{line}\nUSERNAME=u\n").settings.password
    assert password is not None
    assert password.get_secret_value() == value


def test_which_env_file(tmp_path):
    """--env-file, then ./.env, then the system's; one of them, not all."""
    system, here, named = tmp_path / "system.env", tmp_path / ".env", tmp_path / "named"
    assert read_settings(None, GOOD, tmp_path, system).env_file is None
    system.write_text("JOB_PIDS=101\nTRANSFERS=7")
    assert read_settings(None, GOOD, tmp_path, system).settings.job_pids == 101
    here.write_text("JOB_PIDS=102")
    found = read_settings(None, GOOD, tmp_path, system)
    assert (found.settings.job_pids, found.settings.transfers, found.env_file) == (102, 4, here)
    named.write_text("JOB_PIDS=103")
    assert read_settings(Path("named"), GOOD, tmp_path, system).settings.job_pids == 103
    assert load_settings(named, GOOD, tmp_path).job_pids == 103


def test_env_files_that_cannot_be_read(tmp_path):
    """Each is told with its name and a way out."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin").write_bytes(b"PASSWORD=\xe4\n")
    for name, text in (("missing", "does not exist"), ("folder", "cannot be read"), ("latin", "UTF-8")):
        with pytest.raises(ConfigError, match=rf"^the env file {tmp_path}/{name} .*{text}.*: [^\n]+$"):
            load_settings(Path(name), GOOD, tmp_path)


def test_forbidden_env_file_is_not_passed_over(tmp_path, monkeypatch):
    """A file that is there and may not be read is an error: its settings would silently be missing."""

    def forbid(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", forbid)  # the tests may run as root, whom nothing forbids
    with pytest.raises(ConfigError, match=r"/\.env cannot be read \(permission denied\): run this as root"):
        load_settings(None, GOOD, tmp_path)


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("API_URL=ftp://x", "https://"),
        ("API_URL=api.test", "https://"),
        ("API_URL=https://", "https://"),
        ("API_URL=https://x/?a=b", "without user name"),
        ("API_URL=https://x:99999", "https://"),
        ("API_URL=http://[", "https://"),
        ("TIMEOUT_JOB=0", "over 0, up to 3600"),
        ("TIMEOUT_JOB=3601", "over 0, up to 3600"),
        ("TIMEOUT_JOB=nan", "over 0, up to 3600"),
        ("TIMEOUT_JOB=-1", "over 0, up to 3600"),
        ("TIMEOUT_STATUS=0.5", "1 to 120"),
        ("TIMEOUT_STATUS=121", "because the API gives a silent job away after 300 s"),
        ("TIMEOUT_STATUS=soon", "1 to 120"),
        ("STATE_DIR=here", "absolute path"),
        ("PATH_HOST_BASE=/a/../b", "absolute path"),
        ("DOCKER_HOST=/var/run/docker.sock", "unix:///PATH"),
        ("DOCKER_HOST=ssh://host", "unix:///PATH"),
        ("IMAGE_PULL=sometimes", "always, missing or never"),
        ("IMAGE_PULL_IDLE=0", "1 to 86400"),
        ("JOB_NETWORK=container:other", "Docker network"),
        ("JOB_MEMORY_MIB=8G", "MiB"),
        ("JOB_CPUS=0", "over 0"),
        ("JOB_CPUS=nan", "over 0"),
        ("JOB_CPUS=inf", "over 0"),
        ("JOB_SHM_MIB=0", "MiB"),
        ("JOB_PIDS=1", "64 to"),
        ("JOB_CAPABILITIES=SYS_PTRACE,ALL", "not ALL"),
        ("JOB_CAPABILITIES=sys-ptrace", "not ALL"),
        ("JOB_MAX_RUNTIME=0", "12h"),
        ("JOB_MAX_RUNTIME=12x", "12h"),
        ("JOB_LOG_MIB=0", "1 to"),
        ("JOB_STOP_GRACE=121", "0 to 120"),
        ("TRANSFERS=0", "1 to 32"),
        ("TRANSFERS=33", "1 to 32"),
        ("TRANSFER_TIMEOUT=0", "1 to 3600"),
        ("TRANSFER_FLOOR_KIB_S=-1", "from 0"),
        ("RETRY_BUDGET=8d", "7d"),
        ("GPUS=0", "all or none"),
        ("LOG_LEVEL=loud", "debug, info, warning or error"),
    ],
)
def test_bad_value_is_one_line(problem, setting, allowed):
    """It names the setting with its value, the file and line it came from, and what is allowed."""
    said = problem(f"\n{setting}\n", {"DECODE_ACCESS_TOKEN": "t", "API_URL": "https://api.test"})
    assert re.fullmatch(rf"{re.escape(setting)} \(from /.*/\.env line 2\) is not allowed: .+", said)
    assert allowed in said


def test_bad_value_from_the_environment_names_the_variable(problem):
    """The variable as it is spelled there."""
    assert "(from DECODE_TRANSFERS in the environment)" in problem("", GOOD | {"DECODE_TRANSFERS": "x"})


def test_all_bad_values_at_once(problem):
    """One line each, so that one look is enough; a consequence of another error is not told."""
    said = problem("TRANSFERS=x\nSTATE_DIR=rel\n'\n", {"API_URL": "x:"}).splitlines()
    assert len(said) == 4
    assert [line.split("=")[0] for line in said[1:4]] == ["API_URL", "STATE_DIR", "TRANSFERS"]
    assert said[0].endswith(".env line 3 cannot be read: it must be NAME=value, with quotes closed")


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({}, "API_URL is not set: a URL"),
        ({"API_URL": "https://x", "PASSWORD": "p"}, "USERNAME is not: set both"),
    ],
)
def test_what_is_required(problem, environ, text):
    """An API; a password says whose it is."""
    assert text in problem("", environ)


@pytest.mark.parametrize(
    ("environ", "username"), [({}, None), ({"DECODE_USERNAME": "u"}, "u"), ({"USERNAME": "shell"}, None)]
)
def test_credentials_may_be_kept_elsewhere(read, environ, username):
    """Without any in the settings the keyring is asked; a name alone says for whom."""
    settings = read("", {"API_URL": "https://x"} | environ).settings
    assert (settings.username, settings.password, settings.access_token) == (username, None, None)


def test_given_twice(problem, read):
    """With and without the prefix in one file: harmless if equal, else nobody knows what was meant."""
    assert "TRANSFERS is given twice and differently" in problem("TRANSFERS=1\nDECODE_TRANSFERS=2")
    assert read("TRANSFERS=2\nDECODE_TRANSFERS=2").settings.transfers == 2


@pytest.mark.parametrize(
    ("text", "environ", "warning"),
    [
        (
            "TIMEOUT_JOBS=5",
            {},
            r"^TIMEOUT_JOBS \(.*/\.env line 1\) is no setting .*; did you mean TIMEOUT_JOB\?$",
        ),
        ("decode_api_url=x", {}, "did you mean API_URL?"),
        ("ALLOWED_IMAGE=x", {}, "did you mean ALLOWED_IMAGES?"),
        ("HTTP_PROXY=x", {}, "has no effect$"),
        ("", {"DECODE_TRANSFER": "1"}, r"\(the environment\) .*did you mean TRANSFERS\?"),
        ("PATH_BASE=/files", {}, "PATH_BASE has no effect"),
        ("API_URL=http://api.test", {}, "API_URL=http://api.test is not encrypted"),
    ],
)
def test_warnings(read, text, environ, warning):
    """What is odd but no error is said once, a mistyped name with a guess."""
    base = {"DECODE_ACCESS_TOKEN": "t", "API_URL": "https://api.test"}
    (said,) = read(text, base | environ).warnings
    assert re.search(warning.replace("?", r"\?") if "\\" not in warning else warning, said)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "mock.localhost", "127.8.8.8:8000"])
def test_no_warning_for_plain_http_to_this_machine(read, host):
    """Nobody listens in between."""
    assert read(f"API_URL=http://{host}", {"DECODE_ACCESS_TOKEN": "t"}).warnings == ()


def test_secrets_are_never_shown(read, problem):
    """Neither in a repr nor in an error, be the value good or bad."""
    loaded = read("ACCESS_TOKEN='s3cret token'\nPASSWORD=s3cret\nUSERNAME=u")
    assert "s3cret" not in repr(choose(NAMES, parse_env_file("PASSWORD=s3cret", "f"), {"USERNAME": "s3cret"}))
    assert "s3cret" not in repr(loaded) + str(loaded.settings) + loaded.settings.model_dump_json()
    said = problem("ACCESS_TOKEN='s3cret token'\nAPI_URL=https://u:s3cret@x", {"PASSWORD": "s3cret"})
    assert "ACCESS_TOKEN (from" in said
    assert "API_URL=https://…@x (from" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("API_URL=https://x/prefix/", "api_url", "https://x/prefix"),
        ("JOB_MAX_RUNTIME=12h", "job_max_runtime", 43200.0),
        ("JOB_MAX_RUNTIME=90m", "job_max_runtime", 5400.0),
        ("JOB_MAX_RUNTIME=2d", "job_max_runtime", 172800.0),
        ("JOB_MAX_RUNTIME=1h30m", "job_max_runtime", 5400.0),
        ("JOB_MAX_RUNTIME=600", "job_max_runtime", 600.0),
        ("TIMEOUT_JOB=1.5", "timeout_job", 1.5),
        ("TIMEOUT_STATUS=2m", "timeout_status", 120.0),
        ("IMAGE_PULL=Never", "image_pull", ImagePull.NEVER),
        ("ALLOWED_IMAGES=a/*, b c", "allowed_images", ("a/*", "b", "c")),
        ("GROUPS=,", "groups", ()),
        ("JOB_CAPABILITIES=cap_sys_ptrace", "job_capabilities", ("SYS_PTRACE",)),
        ("STATE_DIR=/data", "path_host_base", Path("/data/jobs")),
        ("STATE_DIR=/data\nPATH_HOST_BASE=/big", "path_host_base", Path("/big")),
        ("LOG_LEVEL=DEBUG", "log_level", "debug"),
    ],
)
def test_values(read, text, name, value):
    """What is written becomes what the agent works with."""
    loaded = read(text, {"DECODE_ACCESS_TOKEN": "t", "API_URL": "https://api.test"})
    assert getattr(loaded.settings, name) == value


def test_token_may_be_pasted_with_its_scheme(read):
    """People copy the whole header."""
    token = read("", GOOD | {"DECODE_ACCESS_TOKEN": "Bearer a.b.c\n"}).settings.access_token
    assert token is not None
    assert token.get_secret_value() == "a.b.c"


def test_settings_are_frozen(read):
    """Nobody changes them while the agent runs."""
    with pytest.raises(ValidationError):
        read().settings.transfers = 5


def test_example_explains_every_setting_and_shows_its_default():
    """`.env.example` is the reference: a name that is missing there does not exist for users."""
    text = (ROOT / ".env.example").read_text()
    shown = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert set(shown) == set(NAMES)
    defaults = Settings(api_url="https://x")
    given = {name.lower(): value for name, value in shown.items() if value}
    assert Settings(**{"api_url": "https://x"} | given) == defaults
    for name in NAMES:
        comment = text[: re.search(rf"^#?{name}=", text, re.MULTILINE).start()].rpartition("\n\n")[2]
        assert comment.startswith("# "), f"{name} is not explained"


def test_example_can_be_read_as_it_is():
    """Every line of it is one that python-dotenv takes."""
    with (ROOT / ".env.example").open() as file:
        assert not [line for line in parse_stream(file) if line.error]
