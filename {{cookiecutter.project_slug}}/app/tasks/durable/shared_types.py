"""What is changed of tasks while they run, in all processes that share a database."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..dispatcher import Dispatcher
from ..limits import Limiters
from ..rate import Rate
from ..task import Task
from ..task_types import TaskTypes
from .limits import lock_claims
from .loop import Loop
from .reader import Sessions
from .table import task_types

_INTERVAL = 1.0
"""Seconds between two readings of the table."""


class SharedTaskTypes(TaskTypes):
    """The tasks of an engine, as the table has them.

    A pause lasts until it is ended. Changed limits last as long as a process that has them: it says
    so in the table by `renewals`, and one that starts takes up only what is renewed from then on.
    """

    def __init__(
        self, tasks: Iterable[Task[..., Any]], limiters: Limiters, sessions: Sessions
    ) -> None:
        super().__init__(tasks, limiters)
        self._sessions = sessions
        self._rows: dict[str, Row[Any]] | None = None
        """What the table said last; None before it was read."""
        self._lock = asyncio.Lock()  # what was read before a change must not undo it
        self.loop = Loop("reading which tasks are paused", self._follow, _INTERVAL)
        self.changed: Callable[[], None] = _nothing
        """Called when other durable tasks may start than before."""

    async def start(self, dispatcher: Dispatcher) -> None:
        """Begin to follow the table."""
        await super().start(dispatcher)
        self._following = asyncio.create_task(self.loop.run())
        await self.loop.next_step()  # what is paused must not start before

    async def stop(self) -> None:
        """Follow the table no longer."""
        self.loop.stop()
        await self._following

    def startable(self, names: Iterable[str]) -> list[str]:
        """Return those of some names that are not paused, as far as the table has been read."""
        if self._rows is None:
            return []
        return [name for name in names if name not in self._dispatcher.paused]

    async def pause(self, name: str, *, paused: bool) -> None:
        """Pause or resume a task, in other processes within a second; UnknownTaskError."""
        self._check(name)
        await self._write(name, paused=paused)

    async def limit(self, name: str, max_concurrency: int | None, rate: Rate | None) -> None:
        """Change both limits of a task, None to what it was made with; UnknownTaskError."""
        self._check(name)
        rate_limit = None if rate is None else str(rate)
        limits = {"max_concurrency": max_concurrency, "rate_limit": rate_limit}
        await self._write(name, **limits, renewals=task_types.c.renewals + 1)

    async def _write(self, name: str, **values: Any) -> None:
        async with self._lock:
            if self._rows is None:  # to tell what is changed from what was
                await self._read()
            async with self._sessions() as session:
                await _add_row(session, name)
                row = update(task_types).where(task_types.c.name == name)
                await session.execute(row.values(**values))
            await self._read()

    async def _follow(self) -> None:
        async with self._lock:
            silent = await self._read()
            if silent:
                rows = update(task_types).where(task_types.c.name.in_(silent))
                async with self._sessions() as session:
                    await session.execute(rows.values(renewals=task_types.c.renewals + 1))

    async def _read(self) -> list[str]:
        """Do as the table says; return the tasks with changed limits that nobody has renewed."""
        async with self._sessions(read_only=True) as session:
            read = await session.execute(select(task_types))
            rows = {row.name: row for row in read if row.name in self._tasks}
        before, self._rows = self._rows, rows
        silent = []
        for name, row in rows.items():
            self._dispatcher.set_paused(name, paused=row.paused)
            if before is None:
                continue
            if row.renewals != (before[name].renewals if name in before else 0):
                rate = None if row.rate_limit is None else Rate.parse(row.rate_limit)
                self._set_limits(name, row.max_concurrency, rate)
            elif self._is_changed(name):
                silent.append(name)
        if rows != before:
            self.changed()
        return silent


async def _add_row(session: AsyncSession, name: str) -> None:
    await lock_claims(session)  # nor may two processes add the same
    row = select(task_types.c.name).where(task_types.c.name == name)
    if (await session.execute(row)).first() is None:
        await session.execute(insert(task_types).values(name=name, paused=False, renewals=0))


def _nothing() -> None:
    return None
