"""Settings of the Celery engine, read from CELERY_* environment variables."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

REDIS = ("redis://", "rediss://")
"""How the URLs of Redis and Valkey begin."""


class CelerySettings(BaseSettings):
    """Where the broker is and how long to wait for it."""

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
    """`redis://` or `rediss://`: where workers share the limits of tasks, and where the states of
    tasks are kept. By default the broker, if that is Redis or Valkey; with RabbitMQ and without
    this, limits hold for each worker process, and states are not kept."""
    queue: str = Field(default="tasks", min_length=1)
    """Name of the queue; services that share a broker need different ones."""
    pool: Literal["threads", "prefork"] = "threads"
    """How a worker runs tasks side by side: one process, or one for each slot."""
    publish_timeout: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Seconds that one step of talking to the broker may take; connecting has as many again."""
    visibility_timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds after which Redis delivers a message to another worker if it was not acknowledged. At
    least, and by default a minute more than, the longest timeout of a task and the drain."""
    result_expires: float = Field(default=86400.0, gt=0, allow_inf_nan=False)
    """Seconds for which the state of a task is kept, since its last change and since it was due."""

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
