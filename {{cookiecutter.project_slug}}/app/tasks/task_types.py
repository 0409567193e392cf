"""What can be changed of tasks while they run: whether they are paused, and their limits."""

import asyncio
from collections.abc import Callable, Iterable
from time import time
from typing import Any

from sqlalchemy import Row, select

from .dispatcher import Dispatcher
from .durable.dialect import dialect_of, insert_into
from .durable.reader import Sessions
from .durable.table import task_types
from .errors import UnknownTaskError
from .info import TaskState, TaskType
from .loop import Loop
from .rate import Rate
from .settings import TaskLimits
from .task import Task

_INTERVAL = 1.0
"""Seconds between two readings of the table."""


class TaskTypes:
    """The tasks of an engine, by name.

    A change holds in all processes that share a table, until it is taken back; without a table in
    this process.
    """

    def __init__(self, tasks: Iterable[Task[..., Any]], sessions: Sessions | None) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._defaults = {
            name: (task.max_concurrency, task.rate) for name, task in self._tasks.items()
        }
        self._sessions = sessions
        self._rows: list[Row[Any]] | None = None
        """What the table said last; None before it was read."""
        self._lock = asyncio.Lock()  # what was read before a change must not undo it
        self.loop = Loop("reading which tasks are paused", self._read, _INTERVAL)
        self.changed: Callable[[], None] = lambda: None
        """Called when other durable tasks may start than before."""

    async def start(self, dispatcher: Dispatcher) -> None:
        """Begin to change what the jobs of a dispatcher do, and to follow the table."""
        self._dispatcher = dispatcher
        if self._sessions is not None:
            self._following = asyncio.create_task(self.loop.run())
            await self.loop.next_step()  # what is paused must not start before

    async def stop(self) -> None:
        """Follow the table no longer."""
        self.loop.stop()
        await self._following

    def describe(self) -> list[TaskType]:
        """Return what is known of each task."""
        counts = self._dispatcher.counts()
        return [
            TaskType(
                name=name,
                durable=task.durable,
                paused=name in self._dispatcher.queue.paused,
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

    def startable(self, names: Iterable[str]) -> list[str]:
        """Return those of some names that are not paused, as far as the table has been read."""
        if self._rows is None:
            return []
        return [name for name in names if name not in self._dispatcher.queue.paused]

    async def pause(self, name: str, *, paused: bool) -> None:
        """Pause or resume a task, in other processes within a second; UnknownTaskError."""
        self._check(name)
        if self._sessions is None:
            self._dispatcher.set_paused(name, paused=paused)
        else:
            await self._write(self._sessions, name, paused=paused)

    async def limit(self, name: str, limits: TaskLimits) -> None:
        """Change both limits of a task, None to what it was made with; UnknownTaskError."""
        self._check(name)
        if self._sessions is None:
            self._set_limits(name, limits.max_concurrency, limits.rate_limit)
        else:
            await self._write(self._sessions, name, **limits.model_dump())

    def _check(self, name: str) -> None:
        if name not in self._tasks:
            msg = f"there is no task called {name}"
            raise UnknownTaskError(msg)

    async def _write(self, sessions: Sessions, name: str, **values: Any) -> None:
        async with sessions() as session:
            row = insert_into(task_types, dialect_of(session)).values(
                {"name": name, "paused": False, **values}
            )
            row = row.on_conflict_do_update(index_elements=[task_types.c.name], set_=values)
            await session.execute(row)
        await self._read()

    async def _read(self) -> None:
        """Do as the table says."""
        if self._sessions is None:
            return
        async with self._lock, self._sessions(read_only=True) as session:
            rows = list((await session.execute(select(task_types).order_by("name"))).all())
            before, self._rows = self._rows, rows
            known = [row for row in rows if row.name in self._tasks]
            for row in known:  # first: a limit may be one that only a later release can read
                self._dispatcher.set_paused(row.name, paused=row.paused)
            for row in known:
                self._set_limits(row.name, row.max_concurrency, row.rate_limit)
        if rows != before:
            self.changed()

    def _set_limits(self, name: str, max_concurrency: int | None, rate_limit: str | None) -> None:
        task = self._tasks[name]
        own_concurrency, own_rate = self._defaults[name]
        rate = own_rate if rate_limit is None else Rate.parse(rate_limit)
        limits = (max_concurrency or own_concurrency, rate)
        if limits != (task.max_concurrency, task.rate):
            task.max_concurrency, task.rate = limits
            self._dispatcher.dispatch()
