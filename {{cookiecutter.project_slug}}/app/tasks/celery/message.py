"""What is sent to a worker: what a row of the table would say of a task, and of a call."""

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
    """One run that is to happen. Timestamps are seconds since the epoch."""

    arguments: str = "{}"
    context: str = "{}"
    state: str = TaskState.QUEUED
    attempts: int = 0
    """Runs that have begun."""
    created_at: FiniteFloat = 0.0
    due_at: FiniteFloat = 0.0
    """When it could run; its waiting time counts from here."""
    not_before: FiniteFloat = 0.0
    """When it may run, if that is later: its task was over a limit, or paused."""
    durable: bool = False
    """Whether the table has the call; the message only says that it is due."""
    retry: Retry | None = None
    """That of the call, if it had one; what is worth another run is the task's to say."""

    @classmethod
    def of_call(
        cls,
        task: Task[..., Any],
        arguments: Arguments,
        options: Options,
        context: dict[str, str],
    ) -> Self:
        """Write down a call that was just made."""
        row, now, retry = new_row(task, arguments, options, context, 0.0), time(), options.retry
        return cls(
            **{name: row[name] for name in _OF_CALL},
            created_at=now,
            due_at=now + row["delay"],
            retry=None if retry is None else replace(retry, on=(Exception,)),
        )

    @property
    def delay(self) -> float:
        """Seconds until it may run; below 0 if it could for a while."""
        return max(self.due_at, self.not_before) - time()

    def again(self, attempts: int, delay: float) -> Self:
        """Return the message for the next run, in `delay` seconds."""
        return replace(self, attempts=attempts, due_at=time() + delay)

    def postponed(self, seconds: float) -> Self:
        """Return the message for another try: its task is over a limit, or paused."""
        return replace(self, not_before=time() + seconds)


AS_DATA = TypeAdapter(Message)
"""Reads and writes messages as plain data. What a newer release has added is left out."""
