"""The message to a worker: what a row of the table would have, and the `retry` of the call."""

from dataclasses import dataclass, replace
from time import time
from typing import Any, Self

from pydantic import FiniteFloat, TypeAdapter

from ..arguments import Arguments
from ..durable.row import new_row
from ..info import TaskRecord, TaskState
from ..options import Options
from ..retry import Retry
from ..task import Task

_OF_CALL = ("id", "name", "limit_group", "arguments", "context", "priority", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(TaskRecord):
    """Asks a worker for one run of a task. Timestamps are seconds since the epoch."""

    arguments: str = "{}"
    context: str = "{}"
    state: str = TaskState.QUEUED
    attempts: int = 0
    """Runs that have started."""
    created_at: FiniteFloat = 0.0
    due_at: FiniteFloat = 0.0
    """When the task is due; its waiting time counts from here."""
    not_before: FiniteFloat = 0.0
    """When it may run, if that is later, because it was over a limit or paused."""
    durable: bool = False
    """Whether the call is in the table, and the message only announces that it is due."""
    retry: Retry | None = None
    """The `retry` of the call, if it has one; its `on` is always that of the task."""

    @classmethod
    def of_call(
        cls,
        task: Task[..., Any],
        arguments: Arguments,
        options: Options,
        context: dict[str, str],
    ) -> Self:
        """Return the message for a new call."""
        row, now, retry = new_row(task, arguments, options, context, 0.0), time(), options.retry
        return cls(
            **{name: row[name] for name in _OF_CALL},
            created_at=now,
            due_at=now + row["delay"](),
            retry=None if retry is None else replace(retry, on=(Exception,)),
        )

    @property
    def delay(self) -> float:
        """Seconds until the task may run; negative once it may."""
        return max(self.due_at, self.not_before) - time()

    def again(self, attempts: int, delay: float) -> Self:
        """Return the message for the next run, in `delay` seconds."""
        return replace(self, attempts=attempts, due_at=time() + delay)

    def postponed(self, seconds: float) -> Self:
        """Return the message for another try, in `seconds`, of a task over a limit or paused."""
        return replace(self, not_before=time() + seconds)


AS_DATA = TypeAdapter(Message)
"""Reads and writes messages as plain data, and ignores fields that a newer release has added."""
