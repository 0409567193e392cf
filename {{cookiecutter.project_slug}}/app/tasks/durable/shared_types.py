"""What is changed of tasks while they run, in all processes that share a database."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Row, select

from ..dispatcher import Dispatcher
from ..limits import Limiters
from ..rate import Rate
from ..task import Task
from ..task_types import TaskTypes
from .dialect import dialect_of, insert_into
from .loop import Loop
from .reader import Sessions
from .table import task_types

_INTERVAL = 1.0
"""Seconds between two readings of the table."""


class SharedTaskTypes(TaskTypes):
    """The tasks of an engine, as the table has them: a change lasts until it is taken back."""

    def __init__(
        self, tasks: Iterable[Task[..., Any]], limiters: Limiters, sessions: Sessions
    ) -> None:
        super().__init__(tasks, limiters)
        self._sessions = sessions
        self._rows: list[Row[Any]] | None = None
        """What the table said last; None before it was read."""
        self._lock = asyncio.Lock()  # what was read before a change must not undo it
        self.loop = Loop("reading which tasks are paused", self._read, _INTERVAL)
        self.changed: Callable[[], None] = lambda: None
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
        await self._write(name, paused=paused)

    async def limit(self, name: str, max_concurrency: int | None, rate: Rate | None) -> None:
        """Change both limits of a task, None to what it was made with; UnknownTaskError."""
        rate_limit = None if rate is None else str(rate)
        await self._write(name, max_concurrency=max_concurrency, rate_limit=rate_limit)

    async def _write(self, name: str, **values: Any) -> None:
        self._check(name)
        async with self._sessions() as session:
            row = insert_into(task_types, dialect_of(session)).values(
                {"name": name, "paused": False, **values}
            )
            row = row.on_conflict_do_update(index_elements=[task_types.c.name], set_=values)
            await session.execute(row)
        await self._read()

    async def _read(self) -> None:
        """Do as the table says."""
        async with self._lock, self._sessions(read_only=True) as session:
            rows = list((await session.execute(select(task_types).order_by("name"))).all())
            before, self._rows = self._rows, rows
            for row in rows:
                if row.name in self._tasks:
                    self._dispatcher.set_paused(row.name, paused=row.paused)
                    rate = None if row.rate_limit is None else Rate.parse(row.rate_limit)
                    self._set_limits(row.name, row.max_concurrency, rate)
        if rows != before:
            self.changed()
