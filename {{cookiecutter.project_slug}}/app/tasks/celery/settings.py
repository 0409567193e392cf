"""Settings of the Celery engine, read from CELERY_* environment variables."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

REDIS = ("redis://", "rediss://")
"""The schemes of Redis and Valkey URLs."""


class CelerySettings(BaseSettings):
    """Where the broker is, and how it and the workers are used."""

    model_config = SettingsConfigDict(
        env_prefix="CELERY_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    broker_url: SecretStr | None = None
    """`redis://`, `rediss://` (Valkey too) or `amqp://`. Without it tasks run in this process."""
    limits_url: SecretStr | None = None
    """`redis://` or `rediss://`: the Redis in which workers share limits and states of tasks. By
    default it is the broker, if that is Redis or Valkey. With RabbitMQ and without this setting,
    limits hold for each worker process, and states are not kept."""
    queue: str = Field(default="tasks", min_length=1)
    """Name of the queue; services that share a broker need different ones."""
    pool: Literal["threads", "prefork"] = "threads"
    """Whether a worker runs its tasks in one process, or in one process for each slot."""
    publish_timeout: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Seconds that one request to the broker may take; connecting may take as many in addition."""
    visibility_timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds after which Redis delivers an unacknowledged message to another worker. At least the
    longest timeout of a task plus the drain timeout; by default a minute more than that."""
    result_expires: float = Field(default=86400.0, gt=0, allow_inf_nan=False)
    """Seconds for which a task's state is kept: after its last change, or its due time if later."""

    @property
    def broker(self) -> str | None:
        """The URL of the broker."""
        return None if self.broker_url is None else self.broker_url.get_secret_value()

    @property
    def shared_store(self) -> str | None:
        """The URL of the Redis that holds limits and states; None if there is none."""
        if self.limits_url is not None:
            return self.limits_url.get_secret_value()
        return self.broker if (self.broker or "").startswith(REDIS) else None
