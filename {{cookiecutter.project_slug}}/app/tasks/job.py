"""A job: one submission of a task, with everything that is needed to run it."""

import asyncio
from contextvars import copy_context
from enum import Enum
from typing import Any, Protocol

from .arguments import Arguments
from .info import TaskInfo, TaskState
from .options import Options
from .task import Task


class Stop(Enum):
    """Why the engine stopped a job."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    SHUTDOWN = "shutdown"
    LOST = "lost"
    """It has ended elsewhere, or this process is ending and leaves it to another."""


STOPPED = frozenset({Stop.CANCEL, Stop.SHUTDOWN, Stop.LOST})
"""The reasons that end a job for good, at least in this process."""


class Recorder(Protocol):
    """Records the end of a run, for a job that is stored outside this process.

    The process then forgets the job, even if it runs again: any process may run it next.
    """

    async def record(self, job: "Job", state: TaskState) -> None:
        """Record the outcome of a run, or a cancellation before it.

        QUEUED means that the job runs again in `job.retry_in` seconds; `job.stop` says why a job
        was cancelled. A lost job is not recorded. Raises nothing, and no cancellation stops it.
        """
        ...


class Job(TaskInfo):
    """One submission of a task, with what its process needs to run it."""

    def __init__(
        self,
        task_id: str,
        task: Task[..., Any],
        arguments: Arguments,
        options: Options,
        default_timeout: float,
    ) -> None:
        priority = task.priority if options.priority is None else options.priority
        super().__init__(task_id, task.name, priority)
        timeout = task.timeout if options.timeout is None else options.timeout
        self.task = task
        self.func = task.func
        self.args, self.kwargs = arguments
        self.context = copy_context()
        self.is_async = task.is_async
        self.timeout = default_timeout if timeout is None else timeout
        self.delay = 0.0
        self.retry = task.retry if options.retry is None else options.retry
        self.limit_group: str | None = None
        """The key by which this process counts the job's limits; None if it counts none."""
        self.position = (0.0, 0)
        """Its sort key and unique number in the queue, from when it was last queued."""
        self.recorder: Recorder | None = None
        self.asyncio_task: asyncio.Task[None] | None = None
        self.thread: asyncio.Future[Any] | None = None
        """Done when the sync function has returned."""
        self.timer: asyncio.TimerHandle | None = None
        self.stop: Stop | None = None

    def fail_with(self, error: Exception) -> None:
        """Make the run raise `error` instead of calling the function."""

        async def fail() -> None:
            raise error

        self.func, self.args, self.kwargs = fail, (), {}
        self.is_async = True
        self.retry = None

    def clear(self) -> None:
        """Drop what only runs need: observers may keep the job, and its context refers to it."""
        del self.func, self.args, self.kwargs, self.context
