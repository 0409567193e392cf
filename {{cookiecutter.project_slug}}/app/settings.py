"""Core settings, and how settings are read. Each package defines its own, with its own prefix."""

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
"""The name for people, such as "My Service"."""
DESCRIPTION: str = _PROJECT["project"]["description"]
VERSION: str = _PROJECT["project"]["version"]

MIN_KEY_LENGTH = 16
"""Characters that an API key needs in production."""


def in_project(path: Path | str) -> Path:
    """Resolve a relative path against the project folder, wherever the service is started.

    PROJECT_DIR sets another base folder for the files that the service reads and writes.
    """
    return Path(os.environ.get("PROJECT_DIR") or Path(__file__).parents[1], path).absolute()


def _parse_list(value: object) -> object:
    """Parse the value of a list variable: `a, b` or `["a", "b"]`."""
    if not isinstance(value, str):
        return value
    items = _parse_json_list(value) if value.lstrip().startswith("[") else value.split(",")
    return [text for item in items if (text := item.strip())]


def _parse_json_list(text: str) -> list[str]:
    try:
        return TypeAdapter(list[str]).validate_json(text)
    except ValidationError:  # its message would contain the value
        msg = 'begins with "[" but is not a JSON list of strings; write a,b or ["a","b"]'
        raise ValueError(msg) from None


def _lower(pattern: str, hint: str) -> AfterValidator:
    """Return a validator that lower-cases a text and requires all of it to match `pattern`."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text.lower()):
            raise ValueError(hint)
        return text.lower()

    return AfterValidator(check)


ProjectPath = Annotated[Path, AfterValidator(in_project), Field(validate_default=True)]
"""A path; a relative one is resolved against the project folder."""
ListSetting = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_parse_list)]
"""Several values in one variable: separated by commas, or a JSON list."""
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
"""A host name in lower case; `*.example.com` matches every subdomain of example.com."""


class EnvSettings(BaseSettings):
    """Base of all settings: from environment variables and `.env`; empty variables are ignored."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"_env_file": in_project(".env"), **values})


class Settings(EnvSettings):
    """Settings of the service as a whole."""

    environment: Literal["development", "test", "production"] = "development"
    """Where the service runs; it decides how strict the defaults are."""
    api_keys: ListSetting[SecretStr] = Field(default=(), validate_default=True)
    """Keys for every route except health; in production each has at least 16 characters."""
    api_key_names: ListSetting[str] = ()
    """A name for each of `api_keys`, in the same order; the log shows it as `caller`."""
    allowed_hosts: ListSetting[Host] = ()
    """Host names that callers may use; empty allows any."""
    cors_origins: ListSetting[Origin] = ()
    """Sites whose pages may call the service from a browser, with an API key; `*` for all."""
    max_upload_bytes: ByteSize = Field(default=ByteSize(200 * 1024 * 1024), ge=1)
    """Largest body for routes that take files, in bytes; `200MiB` works, too."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    shutdown_delay: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Seconds from SIGTERM until the server stops listening. Meanwhile readiness answers 503, so
    that a load balancer sends requests elsewhere. By default 5 in production and 0 otherwise."""

    @field_validator("api_keys")
    @classmethod
    def _check_keys(
        cls, keys: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        if info.data.get("environment") != "production":
            return keys
        if not keys:
            msg = "production needs at least one long random key; separate several by commas"
            raise ValueError(msg)
        if any(len(key.get_secret_value()) < MIN_KEY_LENGTH for key in keys):
            msg = f"each needs at least {MIN_KEY_LENGTH} characters: openssl rand -hex 32"
            raise ValueError(msg)
        return keys

    @field_validator("api_key_names")
    @classmethod
    def _check_names(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if names and len(names) != len(info.data.get("api_keys", names)):
            msg = "needs one name for each of API_KEYS, in the same order"
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


class _Environment(EnvSettings):
    environment: str = "development"


class WorkerSettings(EnvSettings):
    """Where a worker serves its health routes; see `app.worker`."""

    model_config = SettingsConfigDict(env_prefix="WORKER_")

    port: int = Field(default=8001, ge=0, le=65535)
    """Each worker on a machine needs its own; 0 takes any free one."""
    host: str = "127.0.0.1"


class ConfigurationError(SystemExit):
    """Stops the start because of invalid settings, and lists what is wrong with them."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n  ".join(["invalid settings:", *problems]))


def read(settings: type[S]) -> S:
    """Read settings from the environment.

    Raises ConfigurationError, which lists the problems of all settings, those of features
    included. It names the variables and not their values, which may be secrets.
    """
    try:
        # `app.tasks` does not know the project: by default it reads `.env` of the current folder.
        return settings(_env_file=in_project(".env"))
    except UnicodeDecodeError:
        problems = [".env: it is not UTF-8 text"]
    except ValidationError:
        features.import_features()
        classes = [*EnvSettings.__subclasses__(), *BaseSettings.__subclasses__()]
        problems = [problem for class_ in classes for problem in _problems(class_)]
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
    """Return whether this is production, for settings whose defaults or checks depend on it."""
    return _Environment().environment == "production"


def server_processes() -> int:
    """Return how many processes serve requests, by uvicorn's option or variable; 1 by default."""
    # uvicorn's child processes inherit its command line.
    option = re.search(r"--workers[ =](\d+)", " ".join(sys.argv))
    return int(option[1] if option else os.environ.get("WEB_CONCURRENCY") or 1)


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address or `localhost`; no name is looked up in DNS."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _variable(prefix: str, location: tuple[int | str, ...]) -> str:
    if not location:
        return ""
    keys = [part for part in location[1:] if isinstance(part, str)]  # inside TASKS_OVERRIDES
    return ".".join([f"{prefix}{location[0]}".upper().rstrip("_"), *keys]) + ": "
