"""What a user can set, from the environment and an env file; every setting is explained in .env.example."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agent.core.engine_models import ImagePull
from agent.core.errors import ConfigError
from agent.core.sources import Choice, EnvFile, choose, parse_env_file
from agent.core.values import (
    bare_token,
    check_absolute,
    check_capabilities,
    check_docker_host,
    check_url,
    lower,
    seconds_of,
    words_of,
)
from agent.core.wire import one_line

SYSTEM_ENV_FILE = Path("/etc/decode-agent/agent.env")
SECRETS = frozenset({"ACCESS_TOKEN", "PASSWORD"})
_SHOWN_CHARS = 80
_NO_DEFAULT = "default_factory_not_called"  # follows from the error of another setting
_USERINFO = re.compile(r"//[^/?#]*@")


def _check_token(token: SecretStr) -> SecretStr:
    return SecretStr(bare_token(token.get_secret_value()))


Seconds = Annotated[float, BeforeValidator(seconds_of)]
Words = Annotated[tuple[str, ...], BeforeValidator(words_of)]
Url = Annotated[str, AfterValidator(check_url)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]
AbsolutePath = Annotated[Path, AfterValidator(check_absolute)]
_URL = "a URL that begins with https:// or http://, without user name, query or fragment"
_PATH = "an absolute path without .."


class Settings(BaseSettings):
    """All settings, by their names in lower case. The descriptions say what is allowed.

    Sizes in MiB (KiB/s for the floor), times in seconds. None: not set, .env.example says what then counts.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    api_url: Url = Field(description=_URL)
    access_token: Token | None = Field(None, description="one token, without spaces")
    username: str | None = None
    password: SecretStr | None = None
    aws_endpoint_url_cognito_identity_provider: Url | None = Field(None, description=_URL)

    timeout_job: Seconds = Field(30.0, gt=0, le=3600, description="a number of seconds over 0, up to 3600")
    timeout_status: Seconds = Field(
        30.0,
        ge=1,
        le=120,
        description=(
            "a number of seconds from 1 to 120, because the API gives a silent job away after 300 s"
        ),
    )
    groups: Words = ()

    state_dir: AbsolutePath = Field(Path("/var/lib/decode-agent"), description=_PATH)
    path_host_base: AbsolutePath = Field(
        default_factory=lambda data: data.get("state_dir", Path("/")) / "jobs", description=_PATH
    )
    path_base: str | None = None

    docker_host: Annotated[str, AfterValidator(check_docker_host)] = Field(
        "unix:///var/run/docker.sock", description="unix:///PATH or tcp://HOST:PORT"
    )
    image_pull: Annotated[ImagePull, BeforeValidator(lower)] = Field(
        ImagePull.ALWAYS, description="always, missing or never"
    )
    image_pull_idle: Seconds = Field(120.0, ge=1, le=86400, description="a number of seconds from 1 to 86400")
    allowed_images: Words = ()
    gpus: Annotated[Literal["all", "none"], BeforeValidator(lower)] = Field("all", description="all or none")

    job_network: str = Field(
        "bridge",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description=("the name of a Docker network, for instance bridge or none"),
    )
    job_memory_mib: int | None = Field(None, ge=64, description="a whole number of MiB from 64 on")
    job_cpus: float | None = Field(None, gt=0, le=4096, description="a number of cores over 0")
    job_shm_mib: int | None = Field(None, ge=1, description="a whole number of MiB from 1 on")
    job_pids: int = Field(4096, ge=64, le=4194304, description="a whole number from 64 to 4194304")
    job_capabilities: Annotated[Words, AfterValidator(check_capabilities)] = Field(
        (), description="names of Linux capabilities such as SYS_PTRACE, but not ALL"
    )
    job_max_runtime: Seconds | None = Field(
        None,
        gt=0,
        description=("a time over 0 such as 12h, 90m, 2d or a number of seconds; leave it out for no limit"),
    )
    job_stall_warn: Seconds = Field(3600.0, ge=0, le=604800, description="a time up to 7d, or 0 for never")
    job_log_mib: int = Field(256, ge=1, le=102400, description="a whole number of MiB from 1 to 102400")
    job_stop_grace: Seconds = Field(10.0, ge=0, le=120, description="a number of seconds from 0 to 120")

    transfers: int = Field(4, ge=1, le=32, description="a whole number from 1 to 32")
    transfer_timeout: Seconds = Field(60.0, ge=1, le=3600, description="a number of seconds from 1 to 3600")
    transfer_floor_kib_s: float = Field(1.0, ge=0, le=1048576, description="a number of KiB/s from 0 on")
    retry_budget: Seconds = Field(900.0, ge=0, le=604800, description="a time up to 7d, such as 15m")

    min_free_disk_gib: float = Field(10.0, ge=0, le=1048576, description="a number of GiB from 0 on")
    leftover_grace: Seconds = Field(600.0, ge=0, le=604800, description="a time up to 7d, such as 10m")
    host_patience: Seconds = Field(1800.0, ge=0, le=604800, description="a time up to 7d, such as 30m")
    host_failures: int = Field(3, ge=1, le=100, description="a whole number from 1 to 100")

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = Field(
        "info", description="debug, info, warning or error"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the signature is that of pydantic-settings
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  same
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  same
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `read_settings` chose and nothing else: it also knows where each value came from."""
        return (init_settings,)


NAMES = tuple(name.upper() for name in Settings.model_fields)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, where those that were given came from (by their names), and what is odd about them."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]
    env_file: Path | None


def load_settings(env_file: Path | None, environ: Mapping[str, str], cwd: Path) -> Settings:
    """The settings alone; see `read_settings`."""
    return read_settings(env_file, environ, cwd).settings


def read_settings(
    env_file: Path | None, environ: Mapping[str, str], cwd: Path, system_file: Path = SYSTEM_ENV_FILE
) -> Loaded:
    """The settings from the environment and one env file.

    The file is `env_file` if given, else `.env` in `cwd`, else `system_file`, if there is one. Raises
    `ConfigError` with one line for each thing that is wrong.
    """
    path, file = _read_first(env_file, (cwd / ".env", system_file), cwd)
    choice = choose(NAMES, file, environ)
    problems = list(choice.problems)
    values = {name.lower(): one.value for name, one in choice.given.items()}
    try:
        settings = Settings(**values)  # type: ignore[arg-type]  # texts: pydantic makes values of them
    except ValidationError as error:
        problems += [_problem_of(one, choice) for one in error.errors() if one["type"] != _NO_DEFAULT]
    problems += _half_credentials(choice)
    if problems:
        raise ConfigError("\n".join(problems))
    origins = {name: one.origin for name, one in choice.given.items()}
    return Loaded(settings, origins, (*choice.warnings, *_warnings_of(settings)), path)


def _read_first(given: Path | None, usual: tuple[Path, ...], cwd: Path) -> tuple[Path | None, EnvFile]:
    if given is not None:
        return cwd / given, read_env_file(cwd / given, "--env-file")
    for path in usual:
        try:
            return path, _env_file_at(path, "--env-file")
        except FileNotFoundError:
            continue
    return None, EnvFile({})


def read_env_file(path: Path, option: str) -> EnvFile:
    """What the file says. Raises `ConfigError`; `option` is where another file can be named."""
    try:
        return _env_file_at(path, option)
    except FileNotFoundError:
        raise ConfigError(f"the env file {path} does not exist: check {option}") from None


def _env_file_at(path: Path, option: str) -> EnvFile:
    try:
        return parse_env_file(path.read_text("utf-8"), str(path))
    except FileNotFoundError:
        raise
    except PermissionError:
        fix = f"run this as root, or as a user who may read it, or choose another one with {option}"
        raise ConfigError(f"the env file {path} cannot be read (permission denied): {fix}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the env file {path} is not text in UTF-8: save it as such") from None
    except OSError as error:
        fix = f"choose another one with {option}"
        raise ConfigError(f"the env file {path} cannot be read ({error.strerror}): {fix}") from None


def _problem_of(error: ErrorDetails, choice: Choice) -> str:
    """One line: the setting, its value unless secret, where that came from, what is allowed."""
    name = str(error["loc"][0]).upper()
    if name not in choice.given:
        return f"{name} is not set: {_allowed(name)}; set it in the env file or as DECODE_{name}"
    given = choice.given[name]
    value = "" if name in SECRETS else "=" + one_line(_USERINFO.sub("//…@", given.value), _SHOWN_CHARS)
    return f"{name}{value} (from {given.origin}) is not allowed: {_allowed(name)}"


def _allowed(name: str) -> str:
    return Settings.model_fields[name.lower()].description or "text"


def _half_credentials(choice: Choice) -> list[str]:
    """A password alone is nobody's. A name alone is good: it says whose password the keyring has to have."""
    given = choice.given
    if "PASSWORD" not in given or {"ACCESS_TOKEN", "USERNAME"} & given.keys():
        return []
    return [f"PASSWORD is set (from {given['PASSWORD'].origin}) but USERNAME is not: set both, or none"]


def _warnings_of(settings: Settings) -> list[str]:
    warnings = []
    if settings.path_base is not None:
        warnings.append("PATH_BASE has no effect: the agent runs on the host itself")
    urls = {
        "API_URL": settings.api_url,
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": settings.aws_endpoint_url_cognito_identity_provider,
    }
    for name, url in urls.items():
        if url is not None and url.startswith("http:") and not _is_loopback(urlsplit(url).hostname or ""):
            warnings.append(f"{name}={url} is not encrypted: whoever listens learns the account's token")
    return warnings


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
