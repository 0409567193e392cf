"""What the API shows of tasks."""

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from app.tasks import TaskInfo, TaskRecord, TaskState, TaskStore, describe_error

_LATEST = datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp()


class TaskView(BaseModel):
    """One task. A time that has not come yet is null."""

    id: str
    name: str
    state: TaskState | str = Field(description="another one if a newer release has written it")
    priority: int
    attempts: int
    created_at: datetime
    started_at: datetime | None = Field(description="start of the latest run")
    finished_at: datetime | None
    error: str | None = Field(description="type and message of the latest exception")

    @classmethod
    def of_info(cls, info: TaskInfo, started: float | None, finished: float | None) -> "TaskView":
        """Show a task of this process; the times are seconds since the epoch."""
        return cls(
            id=info.id,
            name=info.name,
            state=info.state,
            priority=int(info.priority),
            attempts=info.attempt,
            created_at=_time(info.created_at),
            started_at=_time_or_none(started),
            finished_at=_time_or_none(finished),
            error=None if info.error is None else describe_error(info.error),
        )

    @classmethod
    def of_record(cls, record: TaskRecord) -> "TaskView":
        """Show a durable task."""
        return cls(
            id=record.id,
            name=record.name,
            state=record.state,
            priority=record.priority,
            attempts=record.attempts,
            created_at=_time(record.created_at),
            started_at=_time_or_none(record.started_at),
            finished_at=_time_or_none(record.finished_at),
            error=record.error,
        )


class LiveTask(BaseModel):
    """A task that waits or runs in this process."""

    id: str
    name: str
    state: TaskState
    priority: int
    attempt: int
    age: float = Field(description="seconds since it began to run, or to wait")


class PeriodicView(BaseModel):
    """A task with a schedule."""

    name: str
    schedule: str = Field(description='a cron expression, or such as "every 0:05:00"')
    timezone: str
    next_run: datetime


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
    periodic: list[PeriodicView]
    recent_failures: list[TaskView] = Field(description="newest first; durable ones of any process")
    durable: dict[TaskState | str, int] = Field(
        description="tasks in the table, of all processes; "
        f"{TaskStore.COUNTED} means so many or more"
    )


def _time(seconds: float) -> datetime:
    """Show a time, whatever a row says: none is before 1970 or after 9999."""
    return datetime.fromtimestamp(min(max(0.0, seconds), _LATEST), UTC)


def _time_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)
