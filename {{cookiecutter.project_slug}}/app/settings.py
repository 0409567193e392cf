"""Core settings. Every package owns its own, with its own prefix; all are read the same way."""

from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import (
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

S = TypeVar("S", bound=BaseSettings)


class Environment(StrEnum):
    """Where the service runs; it decides how strict the defaults are."""

    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class LogLevel(StrEnum):
    """The levels of the standard library."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Settings(BaseSettings):
    """What the whole service depends on, read from environment variables and `.env`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    service_name: str = "{{ cookiecutter.project_slug }}"
    environment: Environment = Environment.DEVELOPMENT
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(default=(), validate_default=True)
    """Keys that open everything but health; a comma list in the environment."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    max_upload_bytes: ByteSize = Field(default=ByteSize(200 * 1024 * 1024), ge=1)
    """Largest request body; `200MiB` is understood too."""
    log_level: LogLevel = LogLevel.INFO
    shutdown_delay: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Seconds between SIGTERM and the end of listening, in which readiness answers 503, so that
    a load balancer can look elsewhere. By default 5 in production and 1 otherwise."""

    @field_validator("api_keys", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(key.strip() for key in value.split(",") if key.strip())
        return value

    @field_validator("api_keys")
    @classmethod
    def _needed_in_production(
        cls, keys: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        if not keys and info.data.get("environment") is Environment.PRODUCTION:
            msg = "production needs at least one; it is a comma list of long random keys"
            raise ValueError(msg)
        return keys

    @property
    def in_production(self) -> bool:
        """Whether real users depend on this process."""
        return self.environment is Environment.PRODUCTION

    @property
    def drain_delay(self) -> float:
        """`shutdown_delay` or its default, in seconds."""
        if self.shutdown_delay is None:
            return 5.0 if self.in_production else 1.0
        return self.shutdown_delay


class ConfigurationError(SystemExit):
    """The environment holds a value the service cannot start with; the message names it."""


def read(settings: type[S]) -> S:
    """Read settings from the environment.

    Raises ConfigurationError with the names of the variables, and without their values, since
    those may be secrets.
    """
    try:
        return settings()
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        lines = [
            f"  {_variable(prefix, e['loc'])}{e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise ConfigurationError("\n".join(["invalid settings:", *lines])) from None
    except UnicodeDecodeError:
        raise ConfigurationError("invalid settings:\n  .env: it is not UTF-8 text") from None


def _variable(prefix: str, location: tuple[int | str, ...]) -> str:
    return f"{prefix}{location[0]}".upper().rstrip("_") + ": " if location else ""
