"""Core settings. Every package owns its own, with its own prefix; all are read the same way."""

import os
import re
import sys
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app import features

S = TypeVar("S", bound=BaseSettings)
T = TypeVar("T")

_TEXT = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
_PROJECT = tomllib.loads(_TEXT)
NAME: str = _PROJECT["tool"]["service"]["name"]
"""As people say it."""
DESCRIPTION: str = _PROJECT["project"]["description"]
VERSION: str = _PROJECT["project"]["version"]

KEY_LENGTH = 16
"""Characters that a key of production has at least."""


def in_project(path: Path | str) -> Path:
    """Return where a relative path leads: into the project, wherever the service is started.

    PROJECT_DIR may name another folder for what the service reads and writes.
    """
    return Path(os.environ.get("PROJECT_DIR") or Path(__file__).parents[1], path).absolute()


def _split(value: object) -> object:
    """Read a list as it stands in the environment: `a, b` or `["a", "b"]`."""
    if not isinstance(value, str):
        return value
    items = _read_json_list(value) if value.lstrip().startswith("[") else value.split(",")
    return [text for item in items if (text := item.strip())]


def _read_json_list(text: str) -> list[str]:
    try:
        return TypeAdapter(list[str]).validate_json(text)
    except ValidationError:  # which would tell the value
        msg = 'begins with "[" and is no JSON list of texts; write a,b or ["a","b"]'
        raise ValueError(msg) from None


def _lower(pattern: str, hint: str) -> AfterValidator:
    """Make a text lower case, and refuse one that does not match as a whole."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text.lower()):
            raise ValueError(hint)
        return text.lower()

    return AfterValidator(check)


ProjectPath = Annotated[Path, AfterValidator(in_project), Field(validate_default=True)]
"""A path; a relative one is in the project."""
ListSetting = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]
"""Several values in one variable: a comma list, or a JSON list."""
Origin = Annotated[
    str,
    _lower(
        r"\*|https?://([a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?",
        "must be origins such as https://app.example.com, without a path, or *",
    ),
]
"""Scheme, host and port as a browser sends them in `Origin`, or `*`."""
Host = Annotated[
    str,
    _lower(
        r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,15}",
        "must be host names such as example.com or *.example.com, without a port",
    ),
]
"""A host name in lower case; `*.example.com` stands for every name below example.com."""


class EnvSettings(BaseSettings):
    """Base of all settings: read from environment variables and `.env`, an empty one is not set."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"_env_file": in_project(".env"), **values})


class Settings(EnvSettings):
    """What the whole service depends on."""

    environment: Literal["development", "test", "production"] = "development"
    """Where the service runs; it decides how strict the defaults are."""
    api_keys: ListSetting[SecretStr] = Field(default=(), validate_default=True)
    """Keys that open everything but health; those of production have 16 characters or more."""
    api_key_names: ListSetting[str] = ()
    """Who has the keys, in their order: the log says who called."""
    allowed_hosts: ListSetting[Host] = ()
    """Names by which callers may address the service; any when there are none."""
    cors_origins: ListSetting[Origin] = ()
    """Sites whose pages may call the service from a browser, with an API key; `*` for all."""
    max_upload_bytes: ByteSize = Field(default=ByteSize(200 * 1024 * 1024), ge=1)
    """Largest file for routes that take one; `200MiB` is understood too."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    shutdown_delay: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Seconds between SIGTERM and the end of listening, in which readiness answers 503, so that
    a load balancer can turn elsewhere. By default 5 in production and 0 otherwise."""

    @field_validator("api_keys")
    @classmethod
    def _check_keys(
        cls, keys: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        if info.data.get("environment") != "production":
            return keys
        if not keys:
            msg = "production needs at least one; it is a comma list of long random keys"
            raise ValueError(msg)
        if any(len(key.get_secret_value()) < KEY_LENGTH for key in keys):
            msg = f"a key of production has at least {KEY_LENGTH} characters: openssl rand -hex 32"
            raise ValueError(msg)
        return keys

    @field_validator("api_key_names")
    @classmethod
    def _check_names(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if names and len(names) != len(info.data.get("api_keys", names)):
            msg = "must be as many as API_KEYS, in the same order"
            raise ValueError(msg)
        return names

    @property
    def in_production(self) -> bool:
        """Whether real users depend on this process."""
        return self.environment == "production"

    @property
    def effective_shutdown_delay(self) -> float:
        """`shutdown_delay` or its default, in seconds."""
        default = 5.0 if self.in_production else 0.0
        return default if self.shutdown_delay is None else self.shutdown_delay


class _Stage(EnvSettings):
    environment: str = "development"


class WorkerSettings(EnvSettings):
    """Where the worker tells how it is; see `app.worker`."""

    model_config = SettingsConfigDict(env_prefix="WORKER_")

    port: int = Field(default=8001, ge=0, le=65535)
    """Each worker on a machine needs its own; 0 is any that is free."""
    host: str = "127.0.0.1"


class ConfigurationError(SystemExit):
    """The environment holds values the service cannot start with; each problem names one."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n  ".join(["invalid settings:", *problems]))


def read(settings: type[S]) -> S:
    """Read settings from the environment.

    Raises ConfigurationError with the names of the variables, and without their values, since
    those may be secrets. It names what is wrong in all settings, also in those of features.
    """
    try:
        # Those of `app.tasks`, which knows no project, would read it where somebody stands.
        return settings(_env_file=in_project(".env"))
    except UnicodeDecodeError:
        problems = [".env: it is not UTF-8 text"]
    except ValidationError:
        features.import_features()
        imported = [*EnvSettings.__subclasses__(), *BaseSettings.__subclasses__()]
        problems = [line for one in imported for line in _problems(one)]
    raise ConfigurationError(*problems)


def _problems(settings: type[BaseSettings]) -> list[str]:
    try:
        settings(_env_file=in_project(".env"))
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        return [
            _variable(prefix, e["loc"]) + e["msg"].removeprefix("Value error, ")
            for e in error.errors()
        ]
    return []


def in_production() -> bool:
    """Say whether this is production, for settings that depend on it."""
    return _Stage().environment == "production"


def server_processes() -> int:
    """Return how many processes serve requests, as far as uvicorn lets them know."""
    # Its children inherit the command line.
    given = re.search(r"--workers[ =](\d+)", " ".join(sys.argv))
    return int(given[1] if given else os.environ.get("WEB_CONCURRENCY") or 1)


def is_loopback(host: str) -> bool:
    """Say whether a name or address is this machine; a name but localhost is not looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _variable(prefix: str, location: tuple[int | str, ...]) -> str:
    if not location:
        return ""
    inside = [part for part in location[1:] if isinstance(part, str)]  # of TASKS_OVERRIDES
    return ".".join([f"{prefix}{location[0]}".upper().rstrip("_"), *inside]) + ": "
