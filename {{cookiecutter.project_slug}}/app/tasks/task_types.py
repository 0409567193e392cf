"""What can be changed of tasks while they run: whether they are paused, and their limits."""

from collections.abc import Iterable
from time import time
from typing import Any

from .dispatcher import Dispatcher
from .errors import UnknownTaskError
from .info import TaskState, TaskType
from .limits import Limiters
from .rate import Rate
from .task import Task


class TaskTypes:
    """The tasks of an engine, by name. What is changed is changed in this process."""

    def __init__(self, tasks: Iterable[Task[..., Any]], limiters: Limiters) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._defaults = {
            name: (task.max_concurrency, task.rate) for name, task in self._tasks.items()
        }
        self._limiters = limiters

    async def start(self, dispatcher: Dispatcher) -> None:
        """Begin to change what the jobs of a dispatcher do."""
        self._dispatcher = dispatcher

    def list(self) -> list[TaskType]:
        """Return what is known of each task."""
        counts = self._dispatcher.counts()
        return [
            TaskType(
                name=name,
                durable=task.durable,
                paused=name in self._dispatcher.paused,
                max_concurrency=task.max_concurrency,
                rate_limit=None if task.rate is None else str(task.rate),
                waiting=counts[name, TaskState.QUEUED],
                running=counts[name, TaskState.RUNNING],
                schedule=None if (plan := task.schedule) is None else str(plan),
                timezone=None if plan is None else str(plan.zone),
                next_run=None if plan is None else plan.next_after(time()),
            )
            for name, task in self._tasks.items()
        ]

    async def pause(self, name: str, *, paused: bool) -> None:
        """Pause or resume a task; raises UnknownTaskError."""
        self._check(name)
        self._dispatcher.set_paused(name, paused=paused)

    async def limit(self, name: str, max_concurrency: int | None, rate: Rate | None) -> None:
        """Change both limits of a task, None to what it was made with; UnknownTaskError."""
        self._check(name)
        self._set_limits(name, max_concurrency, rate)

    def _check(self, name: str) -> None:
        if name not in self._tasks:
            msg = f"there is no task called {name}"
            raise UnknownTaskError(msg)

    def _set_limits(self, name: str, max_concurrency: int | None, rate: Rate | None) -> None:
        task = self._tasks[name]
        own_concurrency, own_rate = self._defaults[name]
        limits = (max_concurrency or own_concurrency, rate or own_rate)
        if limits != (task.max_concurrency, task.rate):
            task.max_concurrency, task.rate = limits
            self._dispatcher.change_limits(task, self._limiters)
