"""What the API shows of tasks."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import from_json

from app.tasks import Progress, TaskState, TaskStore

_LATEST = datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp()


def _read_time(seconds: float) -> datetime:
    """Read seconds since the epoch, whatever a row says: none is before 1970 or after 9999."""
    return datetime.fromtimestamp(min(max(0.0, seconds), _LATEST), UTC)


def _read_json(value: Any) -> Any:
    return from_json(value) if isinstance(value, str) else value


Time = Annotated[datetime, BeforeValidator(_read_time)]


class TaskView(BaseModel):
    """One task. A time that has not come yet is null."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    state: TaskState | str = Field(description="another one if a newer release has written it")
    priority: int
    attempts: int
    created_at: Time
    started_at: Time | None = Field(description="start of the latest run")
    finished_at: Time | None
    error: str | None = Field(description="type and message of the latest exception")
    progress: Annotated[Progress | None, BeforeValidator(_read_json)] = Field(
        description="how far it has come, by its own account"
    )


class LiveTask(BaseModel):
    """A task that waits or runs in this process."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    state: TaskState
    priority: int
    attempt: int
    age: float = Field(description="seconds since it began to run, or to wait")


class Limits(BaseModel):
    """The limits of this process."""

    max_concurrency: int
    max_threads: int
    queue_size: int


class TasksView(BaseModel):
    """What the task runner of this process is doing. Totals count from its start."""

    queued: int
    running: int
    succeeded: int
    failed: int = Field(description="ended without success, timeouts included")
    timed_out: int
    cancelled: int
    retried: int
    rejected: int
    limits: Limits
    queue_depth: dict[int, int] = Field(description="waiting tasks by priority")
    running_tasks: list[LiveTask] = Field(description="the first of them, oldest first")
    queued_tasks: list[LiveTask] = Field(description="the first of them, oldest first")
    recent_failures: list[TaskView] = Field(description="newest first; durable ones of any process")
    durable: dict[TaskState | str, int] = Field(
        description="tasks in the table, of all processes; "
        f"{TaskStore.COUNTED} means so many or more"
    )
