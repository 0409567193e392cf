"""What observers, snapshots and pages see of tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from time import monotonic, time
from typing import Annotated, Any

from pydantic import Field, FiniteFloat
from pydantic.dataclasses import dataclass as pydantic_dataclass

from .redaction import describe_error, describe_traceback


class TaskState(StrEnum):
    """The state of a task; all but the first two are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    DEAD = "dead"
    """The process died too often while it ran the task."""


FAILURES = (TaskState.FAILED, TaskState.TIMED_OUT, TaskState.DEAD)
UNSUCCESSFUL = (*FAILURES, TaskState.CANCELLED)
"""The states in which a task has ended without success."""

Number = Annotated[int, Field(ge=-(2**53), le=2**53)] | FiniteFloat
"""A number that JSON represents exactly; Decimal and NumPy numbers are converted to it."""


@pydantic_dataclass(frozen=True, slots=True)
class Progress:
    """How far a task has come, as it last reported."""

    done: Number
    total: Number | None = None
    """None if the task does not know it."""
    note: str = ""


class TaskInfo:
    """One submitted task. Observers may read it and keep it, but not change it."""

    recorder: object = None
    """Records its end outside this process; None if the task lives in this process only."""

    def __init__(self, task_id: str, name: str, priority: int) -> None:
        self.id = task_id
        self.name = name
        self.priority = priority
        self.attempt = 0
        """Attempts so far, the current one included."""
        self.state = TaskState.QUEUED
        self.created_at = time()
        """When it was submitted (seconds since the epoch)."""
        self.queued_at = 0.0
        """When it last became due, or will (`time.monotonic()`, seconds)."""
        self.started_at: float | None = None
        """When the current run began (`time.monotonic()`); None while the task waits."""
        self.duration: float | None = None
        """Seconds that the last run took; None until it has ended."""
        self.retry_in: float | None = None
        """Seconds until the next run; set when `TaskObserver.retried` is called."""
        self.error: BaseException | None = None
        """The exception of the last run; TimeoutError if it took too long."""
        self.progress: Progress | None = None
        """What the task last reported."""

    @property
    def wait(self) -> float:
        """Seconds from the time at which the task was due to its start; 0 while it waits."""
        return 0.0 if self.started_at is None else self.started_at - self.queued_at

    @property
    def age(self) -> float:
        """Seconds since its run began, or since it was due if it waits; negative before that."""
        since = self.started_at if self.state is TaskState.RUNNING else self.queued_at
        return 0.0 if since is None else monotonic() - since


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a runner is doing now. Totals count from its start."""

    queued: int
    running: int
    succeeded: int
    failed: int
    """Failed, timed out or dead."""
    timed_out: int
    cancelled: int
    retried: int
    rejected: int
    queue_depth: Mapping[int, int]
    """Number of queued tasks by priority."""
    tasks: tuple[TaskInfo, ...]
    """The running tasks, then the queued ones, each oldest first and up to the limit asked for.

    Read them at once: they are the objects that the runner works on, and change with the task."""
    delayed: Mapping[int, int] = field(default_factory=dict)
    """Number of queued tasks that are not due yet, by priority."""
    runs_elsewhere: bool = False
    """Whether tasks also run in processes that this snapshot does not cover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskType:
    """A decorated task, with the limits that are in force in this process."""

    name: str
    durable: bool
    paused: bool
    max_concurrency: int | None
    rate_limit: Annotated[str | None, Field(description='such as "10/minute"')]
    waiting: Annotated[
        int, Field(description="in this process; durable tasks mostly wait in the table")
    ]
    running: int
    schedule: Annotated[
        str | None, Field(description='cron expression or "every 0:05:00"; null if not periodic')
    ]
    timezone: str | None
    next_run: Annotated[datetime | None, Field(description="by the clock of the server")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """One task, as the table or the runner describes it. Timestamps are seconds since the epoch."""

    id: str
    name: str
    limit_group: str = ""
    """The key by which its limits are counted."""
    arguments: str = ""
    """JSON object by parameter name; empty if it is unknown, and in lists of tasks."""
    context: str = ""
    """JSON of what the propagator injected; empty if it is unknown, and in lists of tasks."""
    priority: int
    timeout: float | None = None
    state: str
    """A TaskState, or a value that another release of the code wrote."""
    attempts: int
    error: str | None = None
    """Type and first line of the exception of the last run."""
    traceback: str | None = None
    """The end of its traceback; None in lists of tasks."""
    progress: Progress | None = None
    created_at: float
    due_at: float
    started_at: float | None = None
    finished_at: float | None = None


def record_of(info: TaskInfo, context: str = "") -> TaskRecord:
    """Return the record of a task of this process, without a reference to its exception."""
    offset = time() - monotonic()  # from the monotonic clock to timestamps
    return TaskRecord(
        id=info.id,
        name=info.name,
        context=context,
        priority=info.priority,
        state=info.state,
        attempts=info.attempt,
        error=describe_error(info.error) or None,
        traceback=describe_traceback(info.error) or None,
        progress=info.progress,
        created_at=info.created_at,
        due_at=offset + info.queued_at,
        started_at=None if info.started_at is None else offset + info.started_at,
        finished_at=None if info.state in {TaskState.QUEUED, TaskState.RUNNING} else time(),
    )


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that ended without success, as its `on_failure` gets it."""

    id: str
    name: str
    arguments: dict[str, Any]
    """By parameter name, as JSON values."""
    state: TaskState
    """FAILED, TIMED_OUT, DEAD or CANCELLED."""
    error: str
    """Type and first line of its last exception, redacted; empty if there was none."""
