"""What the API shows of tasks."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from app.logs import request_id_of
from app.tasks import Progress, TaskState, TaskStore, TaskType, describe_arguments


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


class TaskDetail(TaskView):
    """One task with all that is known of it."""

    progress: Progress | None = Field(description="by its own account")
    traceback: str | None = Field(description="the end of it, redacted")
    arguments: Annotated[dict[str, Any] | None, BeforeValidator(describe_arguments)] = Field(
        description="by name, none of one that has succeeded; what is long or has secrets is text"
    )
    request_id: Annotated[str | None, BeforeValidator(request_id_of)] = Field(
        validation_alias="context", description="of the request that has submitted it"
    )


class TaskPage(BaseModel):
    """Durable tasks of all processes, the newest first."""

    tasks: list[TaskView]
    next: str | None = Field(description="where the older ones are; null on the last page")


class Retried(BaseModel):
    """What has become of a request to start tasks over."""

    retried: int = Field(description="number of tasks that start over")


class LiveTask(BaseModel):
    """A task that waits or runs in this process."""

    id: str
    name: str
    state: TaskState
    priority: int
    attempt: int
    age: float = Field(description="seconds since it began to run, or to wait")


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
    types: list[TaskType] = Field(description="the tasks of the service")
    queue_depth: dict[int, int] = Field(description="waiting tasks by priority")
    running_tasks: list[LiveTask] = Field(description="the first of them, oldest first")
    queued_tasks: list[LiveTask] = Field(description="the first of them, oldest first")
    recent_failures: list[TaskView] = Field(description="newest first; durable ones of any process")
    durable: dict[TaskState | str, int] = Field(
        description="tasks in the table, of all processes; "
        f"{TaskStore.COUNTED} means so many or more"
    )
