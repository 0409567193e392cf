"""A job: one submission of a task, with everything that is needed to run it."""

import asyncio
import os
from contextvars import copy_context
from enum import Enum
from random import Random
from typing import Any, Protocol

from .arguments import Arguments
from .info import TaskInfo, TaskState
from .limits import Limiter
from .options import Options, id_of
from .priority import Priority
from .task import PlainTask, Task

# 128 bits from a generator that the system has seeded: a system call for each costs five times as
# much. An id is no secret. A forked child must not repeat the ids of its parent.
_ids = Random()  # noqa: S311
_random_bits = _ids.getrandbits
_NORMAL = Priority.NORMAL  # looked up once: it is asked for with every task
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_ids.seed)


def _new_id() -> str:
    return _random_bits(128).to_bytes(16).hex()


class Stop(Enum):
    """Why the engine ended a run from outside."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    SHUTDOWN = "shutdown"
    LOST = "lost"
    """It has ended elsewhere, or this process is going and leaves it to another."""


class Recorder(Protocol):
    """Where the end of a run is written down, if the job lives on outside this process.

    The process forgets the job then, also when it is to run again: whoever is free runs it.
    """

    async def record(self, job: "Job", state: TaskState) -> None:
        """Write down what a run, or a cancellation before it, has made of the job.

        QUEUED means that it is to run again, in `job.retry_in` seconds; `job.stop` says why a
        cancelled one was cancelled. Nothing is written of a job that was lost. Raises nothing.
        """
        ...


class Job(TaskInfo):
    """One submission of a task, in the hands of the process that runs it."""

    __slots__ = (
        "args",
        "context",
        "delay",
        "func",
        "is_async",
        "kwargs",
        "limiters",
        "recorder",
        "retry",
        "run",
        "stop",
        "task",
        "timeout",
        "timer",
    )

    def __init__(
        self,
        task: Task[..., Any] | PlainTask,
        arguments: Arguments,
        options: Options,
        limiters: tuple[Limiter, ...],
        default_timeout: float,
    ) -> None:
        priority = task.priority if options.priority is None else options.priority
        TaskInfo.__init__(  # super() would take longer than all the attributes
            self,
            _new_id() if options.key is None else id_of(task.name, options.key),
            task.name,
            _NORMAL if priority is None else priority,
        )
        timeout = task.timeout if options.timeout is None else options.timeout
        self.task = task
        self.func = task.func
        self.args, self.kwargs = arguments
        self.context = copy_context()
        self.limiters = limiters
        self.is_async = task.is_async
        self.timeout = default_timeout if timeout is None else timeout
        self.delay = options.seconds_until_due()
        self.retry = task.retry if options.retry is None else options.retry
        self.recorder: Recorder | None = None
        """None while the job lives in this process only."""
        self.run: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.stop: Stop | None = None

    @property
    def retries_here(self) -> bool:
        """Whether its next run, if there is one, waits in this process."""
        return self.recorder is None

    @property
    def holds_capacity(self) -> bool:
        """Whether it was accepted here and no run of it has ended yet, as that of a retry has."""
        return self.recorder is None and self.duration is None

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
