"""In-memory periodic tasks: each process submits them at their ticks."""

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic, time
from typing import Any

from .errors import TaskNotAccepted
from .loop import Loop
from .schedule import WRONG_CLOCK
from .task import Task

_PAUSE = 5.0
"""Seconds between two checks whether the clock was set."""


class PeriodicTasks:
    """Submits periodic tasks by the clock of this machine; missed ticks are not made up for."""

    def __init__(
        self, tasks: Iterable[Task[..., Any]], submit: Callable[[Task[..., Any]], object]
    ) -> None:
        self._submit = submit
        self._schedules = {task: task.schedule for task in tasks if task.schedule is not None}
        self._last_time = math.inf  # the first step counts as one after the clock was set back
        self._loop = Loop("submitting periodic tasks", self._step, _PAUSE)

    def start(self) -> None:
        """Start, with the next tick of each task as its first."""
        if self._schedules:
            self._running = asyncio.create_task(self._loop.run())

    def stop(self) -> None:
        """Submit no more tasks."""
        self._loop.stop()

    async def _step(self) -> None:
        now = time()
        if now < self._last_time - WRONG_CLOCK:
            self._next = {task: plan.next_after(now) for task, plan in self._schedules.items()}
        self._last_time = now
        for task, schedule in self._schedules.items():
            if now >= self._next[task]:  # not again if the clock is set back by up to an hour
                self._next[task] = schedule.next_after(now)
                with suppress(TaskNotAccepted):  # observers are told; the other tasks go on
                    self._submit(task)
        self._loop.wake_at(monotonic() + min(self._next.values()) - now)
