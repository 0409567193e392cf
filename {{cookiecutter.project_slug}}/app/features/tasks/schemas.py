"""The answers of the task API."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from app.logs import request_id_of
from app.tasks import Progress, TaskState, TaskStore, TaskType, describe_arguments


class TaskView(BaseModel):
    """A task. A time that has not been reached is null."""

    id: str
    name: str
    state: TaskState | str = Field(description="another release may have stored another value")
    priority: int
    attempts: int
    created_at: datetime
    started_at: datetime | None = Field(description="start of the latest run")
    finished_at: datetime | None
    error: str | None = Field(description="type and first line of the latest exception")


class TaskDetail(TaskView):
    """A task with all details."""

    progress: Progress | None = Field(description="as reported by the task")
    traceback: str | None = Field(description="the end of the traceback, redacted")
    arguments: Annotated[dict[str, Any] | None, BeforeValidator(describe_arguments)] = Field(
        description="by name, none after success; long ones and those with secrets are text"
    )
    request_id: Annotated[str | None, BeforeValidator(request_id_of)] = Field(
        validation_alias="context", description="id of the request that submitted the task"
    )


class TaskPage(BaseModel):
    """Durable tasks of all processes, the newest first."""

    tasks: list[TaskView]
    next: str | None = Field(description="where the older ones are; null on the last page")


class Retried(BaseModel):
    """The result of retrying many tasks."""

    retried: int = Field(description="number of tasks that will run again")


class LiveTask(BaseModel):
    """A task that waits or runs in this process."""

    id: str
    name: str
    state: TaskState
    priority: int
    attempt: int
    age: float = Field(description="seconds since it started, or became due (negative before)")


class TasksView(BaseModel):
    """What the task runner of this process is doing. Totals count from its start."""

    queued: int
    running: int
    succeeded: int
    failed: int = Field(description="ended as failed, timed_out or dead")
    timed_out: int
    cancelled: int
    retried: int
    rejected: int
    types: list[TaskType] = Field(description="the tasks of the service")
    queue_depth: dict[int, int] = Field(description="waiting tasks by priority")
    running_tasks: list[LiveTask] = Field(description="oldest first; not all if there are many")
    queued_tasks: list[LiveTask] = Field(description="oldest first; not all if there are many")
    recent_failures: list[TaskView] = Field(description="newest first; durable ones of any process")
    durable: dict[TaskState | str, int] = Field(
        description="number of durable tasks by state, in all processes; "
        f"{TaskStore.COUNTED} means that many or more"
    )
