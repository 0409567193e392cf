"""What is known of one task: given to observers and listed by snapshots."""

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
    """Where a task is in its life; only the first two are not final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    DEAD = "dead"
    """A durable task whose process ended too often while it ran."""


FAILURES = (TaskState.FAILED, TaskState.TIMED_OUT, TaskState.DEAD)
UNSUCCESSFUL = (*FAILURES, TaskState.CANCELLED)
"""The states in which a task has ended without success."""

Number = Annotated[int, Field(ge=-(2**53), le=2**53)] | FiniteFloat
"""What JSON carries exactly; also made of a Decimal, or of a number of NumPy."""


@pydantic_dataclass(frozen=True, slots=True)
class Progress:
    """How far a task has come, by its own account."""

    done: Number
    total: Number | None = None
    """None if it does not know."""
    note: str = ""


class TaskInfo:
    """One submitted task. Observers may read it and keep it, but not change it."""

    recorder: object = None
    """What writes its end down elsewhere; None if the task lives in this process only."""

    def __init__(self, task_id: str, name: str, priority: int) -> None:
        self.id = task_id
        self.name = name
        self.priority = priority
        self.attempt = 0
        """Runs so far, the present one included."""
        self.state = TaskState.QUEUED
        self.created_at = time()
        """When it was submitted (seconds since the epoch)."""
        self.queued_at = 0.0
        """When it last began to wait (`time.monotonic()`, seconds)."""
        self.started_at: float | None = None
        """When the present run began; None while the task waits."""
        self.duration: float | None = None
        """Seconds that the last run took; None until it has ended."""
        self.retry_in: float | None = None
        """Seconds until the next run, in `TaskObserver.retried`."""
        self.error: BaseException | None = None
        """What the last run raised; TimeoutError if it took too long."""
        self.progress: Progress | None = None
        """What the last run has reported."""

    @property
    def wait(self) -> float:
        """Seconds between the time at which the task could have run and its start; 0 before."""
        return 0.0 if self.started_at is None else self.started_at - self.queued_at

    @property
    def age(self) -> float:
        """Seconds since it began to run, or to wait if it is queued; below 0 until it is due."""
        since = self.started_at if self.state is TaskState.RUNNING else self.queued_at
        return 0.0 if since is None else monotonic() - since


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a runner is doing. Totals count from its start."""

    queued: int
    running: int
    succeeded: int
    failed: int
    """Ended without success, timeouts included."""
    timed_out: int
    cancelled: int
    retried: int
    rejected: int
    queue_depth: Mapping[int, int]
    """How many wait, by priority."""
    tasks: tuple[TaskInfo, ...]
    """The queued and running tasks, oldest first, of each state no more than were asked for.

    They are what observers are told of: read them at once, since they go on."""
    delayed: Mapping[int, int] = field(default_factory=dict)
    """How many of them are not due yet, by priority."""
    runs_elsewhere: bool = False
    """Whether tasks run in processes of which this knows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskType:
    """A task, by its name, as it is in force in this process."""

    name: str
    durable: bool
    paused: bool
    max_concurrency: int | None
    rate_limit: Annotated[str | None, Field(description='such as "10/minute"')]
    waiting: Annotated[
        int, Field(description="in this process; most durable ones wait in the table")
    ]
    running: int
    schedule: Annotated[
        str | None, Field(description='cron, or such as "every 0:05:00"; null if not periodic')
    ]
    timezone: str | None
    next_run: Annotated[datetime | None, Field(description="by the clock of this machine")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """What is told of a task when it is asked for. Timestamps are seconds since the epoch."""

    id: str
    name: str
    limit_group: str = ""
    """By what its limits are counted."""
    arguments: str = ""
    """JSON by the names of the parameters; empty if it is not known, as in lists of tasks."""
    context: str = ""
    """JSON of what the propagator has injected; empty as the arguments are."""
    priority: int
    timeout: float | None = None
    state: str
    """A TaskState, or what another release of the code has written."""
    attempts: int
    error: str | None = None
    """Type and first line of what the last run has raised."""
    traceback: str | None = None
    """The end of its traceback; None in lists of tasks."""
    progress: Progress | None = None
    created_at: float
    due_at: float
    started_at: float | None = None
    finished_at: float | None = None


def record_of(info: TaskInfo, context: str = "") -> TaskRecord:
    """Return what is known of a task in this process, without keeping its exception."""
    clock = time() - monotonic()  # what makes a timestamp of what that clock says
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
        due_at=clock + info.queued_at,
        started_at=None if info.started_at is None else clock + info.started_at,
        finished_at=None if info.state in {TaskState.QUEUED, TaskState.RUNNING} else time(),
    )


@dataclass(frozen=True, slots=True)
class FailedTask:
    """What the `on_failure` of a task is told."""

    id: str
    name: str
    arguments: dict[str, Any]
    """By the names of the parameters, as JSON has them."""
    state: TaskState
    """FAILED, TIMED_OUT, DEAD or CANCELLED."""
    error: str
    """Type and first line of the exception; empty if the task was cancelled."""
