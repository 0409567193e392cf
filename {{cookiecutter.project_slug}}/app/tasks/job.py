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
    """Why the engine ended a run from outside."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    SHUTDOWN = "shutdown"
    LOST = "lost"
    """It has ended elsewhere, or this process is going and leaves it to another."""


STOPPED = frozenset({Stop.CANCEL, Stop.SHUTDOWN, Stop.LOST})
"""Those that end a job for good, here at least."""


class Recorder(Protocol):
    """Where the end of a run is written down, if the job lives on outside this process.

    The process forgets the job then, also when it is to run again: whoever is free runs it.
    """

    async def record(self, job: "Job", state: TaskState) -> None:
        """Write down what a run, or a cancellation before it, has made of the job.

        QUEUED means that it is to run again, in `job.retry_in` seconds; `job.stop` says why a
        cancelled one was cancelled. Nothing is written of a job that was lost. Raises nothing, and
        no cancellation cuts it off.
        """
        ...


class Job(TaskInfo):
    """One submission of a task, in the hands of the process that runs it."""

    def __init__(
        self,
        task: Task[..., Any],
        arguments: Arguments,
        options: Options,
        default_timeout: float,
    ) -> None:
        super().__init__(
            task.id_of(options.key),
            task.name,
            task.priority if options.priority is None else options.priority,
        )
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
        """By what the limits of its task are counted here; None if nothing here limits it."""
        self.position = (0.0, 0)
        """Where it waits in the queue, or did last: its key, and a number that no other has."""
        self.recorder: Recorder | None = None
        self.asyncio_task: asyncio.Task[None] | None = None
        self.thread: asyncio.Future[Any] | None = None
        """Done when a sync function has returned."""
        self.timer: asyncio.TimerHandle | None = None
        self.stop: Stop | None = None

    def fail_with(self, error: Exception) -> None:
        """Let the run raise `error` instead of calling the function."""

        async def fail() -> None:
            raise error

        self.func, self.args, self.kwargs = fail, (), {}
        self.is_async = True
        self.retry = None

    def clear(self) -> None:
        """Drop what only a run needs: observers may keep a job, and its context refers to it."""
        del self.func, self.args, self.kwargs, self.context
