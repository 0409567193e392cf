"""A job: one submitted task with everything the engine needs to run it."""

import asyncio
import os
from contextvars import copy_context
from enum import Enum
from random import Random
from typing import Any, Protocol

from .arguments import Arguments
from .info import TaskInfo, TaskState
from .lane import Lane
from .options import Options
from .priority import Priority
from .task import PlainTask, Task

# 128 bits from a generator that the system has seeded: a system call for each costs five times as
# much. An id is no secret. A forked child must not repeat the ids of its parent.
_ids = Random()  # noqa: S311
_random_bits = _ids.getrandbits
_NORMAL = Priority.NORMAL  # looked up once: it is asked for with every task
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_ids.seed)


class Stop(Enum):
    """Why the engine ended a run from outside."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    SHUTDOWN = "shutdown"
    LOST = "lost"
    """Another process has the task now, or it was cancelled there."""


class Ledger(Protocol):
    """Where the runs of a durable job are written down, before and after they happen."""

    repeats_elsewhere: bool
    """Whether a run that is repeated leaves this process, instead of waiting here."""

    async def begin(self, job: "Job") -> bool:
        """Count the run that is about to start; False if the job is not ours to run any more."""
        ...

    async def settle(self, job: "Job", state: TaskState) -> None:
        """Write down how the run ended; QUEUED means that it is repeated after `job.retry_in`.

        Nothing is written of a job that was lost.
        """
        ...

    def drop(self, job: "Job") -> None:
        """Take note that the job was cancelled, `job.stop` says why, while it waited."""
        ...


class Job(TaskInfo):
    """A task in the hands of the engine. Lives from the reservation of its place to its end."""

    __slots__ = (
        "args",
        "context",
        "delay",
        "func",
        "is_async",
        "kwargs",
        "lanes",
        "ledger",
        "retry",
        "run",
        "sequence",
        "stop",
        "timeout",
        "timer",
    )

    def __init__(
        self,
        task: Task[..., Any] | PlainTask,
        arguments: Arguments,
        options: Options,
        lanes: tuple[Lane, ...],
        default_timeout: float,
    ) -> None:
        priority = task.priority if options.priority is None else options.priority
        TaskInfo.__init__(  # super() would take longer than all the attributes
            self,
            _random_bits(128).to_bytes(16).hex(),
            task.name,
            _NORMAL if priority is None else priority,
        )
        timeout = task.timeout if options.timeout is None else options.timeout
        self.func = task.func
        self.args, self.kwargs = arguments
        self.context = copy_context()
        self.lanes = lanes
        self.is_async = task.is_async
        self.timeout = default_timeout if timeout is None else timeout
        self.delay = options.delay
        self.retry = task.retry if options.retry is None else options.retry
        self.ledger: Ledger | None = None
        self.run: asyncio.Task[None] | None = None
        self.sequence = 0
        """Its place among the jobs that began to wait at the same moment."""
        self.timer: asyncio.TimerHandle | None = None
        self.stop: Stop | None = None

    @property
    def repeats_elsewhere(self) -> bool:
        """Whether another process may do the next run, so that this one forgets the task."""
        return self.ledger is not None and self.ledger.repeats_elsewhere

    def fail_with(self, error: Exception) -> None:
        """Let the run raise `error` instead of calling the function."""

        async def fail() -> None:
            raise error

        self.func, self.args, self.kwargs = fail, (), {}
        self.is_async = True
        self.retry = None

    def let_go(self) -> None:
        """Drop what only a run needs: observers may keep a job, and its context refers to it."""
        del self.func, self.args, self.kwargs, self.context
