"""Changes of tasks at run time: whether they are paused, and their limits."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from time import time
from typing import Any

from sqlalchemy import select

from .dispatcher import Dispatcher
from .durable.dialect import dialect_of, insert_into
from .durable.reader import Sessions
from .durable.table import task_types
from .errors import UnknownTaskError
from .info import TaskState, TaskType
from .limits import Rate
from .loop import Loop
from .task import Task

_INTERVAL = 1.0
"""Seconds between two reads of the table."""
_NO_CHANGE = {"paused": False, "max_concurrency": None, "rate_limit": None}


class TaskTypes:
    """The tasks of a runner, with the pauses and limits that were set at run time.

    A change holds in all processes that share a table, until the next change; without a table, in
    this process.
    """

    def __init__(self, tasks: Iterable[Task[..., Any]], sessions: Sessions | None) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._defaults = {
            name: (task.max_concurrency, task.rate) for name, task in self._tasks.items()
        }
        self._sessions = sessions
        self._changes: dict[str, dict[str, Any]] | None = {} if sessions is None else None
        """The changes by task name, as in the table; None before the table was read."""
        self._lock = asyncio.Lock()  # an earlier read must not undo a change
        self.loop = Loop("reading which tasks are paused", self._read, _INTERVAL)
        self.changed: Callable[[], None] = lambda: None
        """Called after a change, since other durable tasks may be startable now."""

    async def start(self, dispatcher: Dispatcher) -> None:
        """Apply changes to this dispatcher from now on, and follow the table."""
        self._dispatcher = dispatcher
        if self._sessions is not None:
            self._following = asyncio.create_task(self.loop.run())
            await self.loop.stepped.wait()  # no task may start before its pause is known

    async def stop(self) -> None:
        """Stop following the table."""
        self.loop.stop()
        await self._following

    def describe(self) -> list[TaskType]:
        """Return the tasks with their limits in force, counts and next runs."""
        counts = Counter((job.name, job.state) for job in self._dispatcher.jobs.values())
        return [
            TaskType(
                name=name,
                durable=task.durable,
                paused=name in self._dispatcher.queue.paused,
                max_concurrency=task.max_concurrency,
                rate_limit=None if task.rate is None else str(task.rate),
                waiting=counts[name, TaskState.QUEUED],
                running=counts[name, TaskState.RUNNING],
                schedule=None if task.schedule is None else str(task.schedule),
                timezone=None if task.schedule is None else str(task.schedule.zone),
                next_run=_next_run(task),
            )
            for name, task in self._tasks.items()
        ]

    def startable(self, names: Iterable[str]) -> list[str]:
        """Return which of these tasks are not paused; none before the table has been read."""
        if self._changes is None:
            return []
        return [name for name in names if name not in self._dispatcher.queue.paused]

    async def change(self, name: str, values: dict[str, Any]) -> None:
        """Change a task; other processes follow within a second. Raises UnknownTaskError.

        `values` are some of the columns; a limit of None restores what code and settings say.
        """
        if name not in self._tasks:
            msg = f"there is no task called {name}"
            raise UnknownTaskError(msg)
        if self._sessions is None:
            changes = self._changes or {}
            self._apply({**changes, name: {**_NO_CHANGE, **changes.get(name, {}), **values}})
            return
        async with self._sessions() as session:
            row = insert_into(task_types, dialect_of(session)).values(
                {**_NO_CHANGE, "name": name, **values}
            )
            row = row.on_conflict_do_update(index_elements=[task_types.c.name], set_=values)
            await session.execute(row)
        await self._read()

    async def _read(self) -> None:
        if self._sessions is None:
            return
        async with self._lock, self._sessions(read_only=True) as session:
            rows = await session.execute(select(task_types))
            self._apply({row.name: row._asdict() for row in rows})

    def _apply(self, changes: dict[str, dict[str, Any]]) -> None:
        """Pause tasks and set limits as `changes` says."""
        before, self._changes = self._changes, changes
        known = [(self._tasks[name], row) for name, row in changes.items() if name in self._tasks]
        # Pauses first: a limit may be unreadable, if a later release has written it.
        self._dispatcher.queue.paused = {task.name for task, row in known if row["paused"]}
        try:
            for task, row in known:
                concurrency, rate = self._defaults[task.name]
                task.max_concurrency = row["max_concurrency"] or concurrency
                task.rate = Rate.parse(row["rate_limit"]) if row["rate_limit"] else rate
        finally:
            if changes != before:
                self._dispatcher.dispatch()
                self.changed()


def _next_run(task: Task[..., Any]) -> datetime | None:
    plan = task.schedule
    return None if plan is None else datetime.fromtimestamp(plan.next_after(time()), UTC)
