"""Periodic tasks in memory: each process submits them at their ticks."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic, time
from typing import Any

from .errors import TaskNotAccepted
from .loop import Loop
from .schedule import WRONG_CLOCK
from .task import Task

_PAUSE = 5.0
"""Seconds after which it is seen that the clock was set."""


class PeriodicTasks:
    """Submits tasks by the clock of this machine; ticks that are missed are not made up for."""

    def __init__(
        self, tasks: Iterable[Task[..., Any]], submit: Callable[[Task[..., Any]], object]
    ) -> None:
        self._submit = submit
        self._schedules = {task: task.schedule for task in tasks if task.schedule is not None}
        self._loop = Loop("submitting periodic tasks", self._step, _PAUSE)

    def start(self) -> None:
        """Begin: the first tick is one that is still to come."""
        self._begin(time())
        if self._schedules:
            self._running = asyncio.create_task(self._loop.run())

    def stop(self) -> None:
        """Submit no more."""
        self._loop.stop()

    def _begin(self, now: float) -> None:
        self._seen = now
        self._next = {task: plan.next_after(now) for task, plan in self._schedules.items()}

    async def _step(self) -> None:
        now = time()
        if now < self._seen - WRONG_CLOCK:
            self._begin(now)
        self._seen = now
        for task, schedule in self._schedules.items():
            if now >= self._next[task]:  # and not again, if the clock is set back
                self._next[task] = schedule.next_after(now)
                with suppress(TaskNotAccepted):  # observers are told, and others have their ticks
                    self._submit(task)
        self._loop.wake_at(monotonic() + min(self._next.values()) - now)
