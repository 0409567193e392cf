"""Settings of the task runner, read from TASKS_* environment variables."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TaskSettings(BaseSettings):
    """Limits of one runner, that is, of one process."""

    model_config = SettingsConfigDict(
        env_prefix="TASKS_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    max_concurrency: int = Field(default=20, ge=1)
    """Tasks that run at the same time."""
    queue_size: int = Field(default=1000, ge=1)
    """Tasks that may wait; one more is refused with QueueFull."""
    max_threads: int = Field(default=8, ge=1)
    """Threads for sync functions, apart from those that FastAPI uses for requests."""
    aging: float = Field(default=10.0, ge=0)
    """Seconds that one step of priority is worth: a task overtakes those of the next lower step
    that came less than this before it. 0 is first come, first served; inf is strict priority,
    under which low priorities can starve."""
    drain_timeout: float = Field(default=20.0, ge=0, allow_inf_nan=False)
    """Seconds that queued and running tasks get at shutdown before they are cancelled."""
    default_timeout: float = Field(default=300.0, gt=0)
    """Seconds a task may run when it says nothing itself; inf for no limit."""
