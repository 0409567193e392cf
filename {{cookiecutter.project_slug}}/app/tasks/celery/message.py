"""What is sent to a worker: a call as plain data."""

import json
import time
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from ..arguments import Arguments
from ..ids import new_id
from ..info import TaskRecord, TaskState
from ..options import Options
from ..priority import PriorityNumber
from ..retry import Retry
from ..task import Task


class Message(BaseModel, frozen=True):
    """One run that is to happen. Timestamps are seconds since the epoch.

    What a newer release has added is left out.
    """

    id: str
    name: str
    priority: PriorityNumber
    arguments: dict[str, Any] = {}
    """By the names of the parameters, as JSON has them; empty if the task is durable."""
    durable: bool = False
    """Whether the table of durable tasks has the call; the message only says that it is due."""
    context: dict[str, str] = {}
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds for one run, if the call said so."""
    retry: dict[str, Any] | None = None
    """`attempts`, `delay` and `max_delay`, if the call had a retry of its own."""
    created_at: float = 0.0
    due_at: float = 0.0
    """When it could run; its waiting time counts from here."""
    not_before: float = 0.0
    """When it may run, if that is later: its task was over a limit, or paused."""
    attempts: int = 0
    """Runs that have begun."""

    @classmethod
    def of_call(
        cls, task: Task[..., Any], arguments: Arguments, options: Options, context: dict[str, str]
    ) -> Self:
        """Write down a call that was just made."""
        priority = task.priority if options.priority is None else options.priority
        now = time.time()
        return cls(
            id=new_id(),
            name=task.name,
            priority=int(priority),
            arguments=json.loads(task.check_arguments.to_json(*arguments)),
            context=context,
            timeout=options.timeout,
            retry=None if options.retry is None else _retry_values(options.retry),
            created_at=now,
            due_at=now + options.seconds_until_due(),
        )

    @property
    def delay(self) -> float:
        """Seconds until it may run; below 0 if it could for a while."""
        return max(self.due_at, self.not_before) - time.time()

    @property
    def record(self) -> TaskRecord:
        """What is kept of its task while that waits."""
        names = ("id", "name", "priority", "timeout", "attempts", "created_at", "due_at")
        values = {name: getattr(self, name) for name in names}
        return TaskRecord(**values, state=TaskState.QUEUED)

    def again(self, attempts: int, delay: float) -> Self:
        """Return the message for the next run, in `delay` seconds."""
        return self.model_copy(update={"attempts": attempts, "due_at": time.time() + delay})

    def postponed(self, seconds: float) -> Self:
        """Return the message for another try: its task is over a limit, or paused."""
        return self.model_copy(update={"not_before": time.time() + seconds})

    def call_of(self, task: Task[..., Any]) -> Arguments:
        """Return the arguments of the call; ArgumentError if the task has others by now."""
        return task.check_arguments.from_json(json.dumps(self.arguments))

    def retry_of(self, task: Task[..., Any]) -> Retry | None:
        """Return when the run is repeated; what for is always the task's to say."""
        if self.retry is None:
            return task.retry
        return replace(task.retry or Retry(), **self.retry)


def _retry_values(retry: Retry) -> dict[str, Any]:
    return {"attempts": retry.attempts, "delay": retry.delay, "max_delay": retry.max_delay}
