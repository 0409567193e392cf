"""The limits of durable tasks: they hold over all processes that share the database."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..info import TaskRecord, TaskState
from ..limits import Rate
from ..task import Task
from .dialect import lock_claims, now
from .table import starts, tasks


class DurableLimits:
    """What the limits leave for one claim, to each limit group: a task, or a value of its `per`.

    It counts in the table what runs and what was started, in the transaction that claims.
    """

    def __init__(self, tasks: Mapping[str, Task[..., Any]], threads: float) -> None:
        self._tasks = tasks
        self._threads = threads
        """For how many sync functions this process has room."""
        self._counted: set[str] = set()
        """The tasks whose groups are known."""
        self._room: dict[str, float] = {}
        """How many more runs of a group may start now; those without any are not in it."""
        self.next_start = math.inf
        """Seconds until a rate allows another start; inf if none is used up."""

    @property
    def full(self) -> list[str]:
        """The groups of which nothing may start now."""
        return [group for group, room in self._room.items() if room <= 0]

    async def count(self, session: AsyncSession, names: set[str]) -> bool:
        """Count for some more tasks; say whether that has found groups that are full.

        From then on nobody else can claim limited tasks until the session ends.
        """
        new = [self._tasks[name] for name in names - self._counted]
        limited = [task for task in new if task.max_concurrency or task.rate]
        if not limited:
            return False
        await lock_claims(session)
        self._counted |= {task.name for task in limited}
        before = len(self.full)
        await self._count_running(session, limited)
        for task in limited:
            if task.rate is not None:
                await self._count_starts(session, task.name, task.rate)
        return len(self.full) > before

    def admit(self, name: str, group: str) -> bool:
        """Take what a run needs; False if there is no thread, or no room in its group."""
        task = self._tasks[name]
        at_once = task.max_concurrency or math.inf
        limit = at_once if task.rate is None else min(at_once, task.rate.count)
        threads = 0 if task.is_async else 1
        if threads > self._threads or self._room.setdefault(group, limit) <= 0:
            return False
        self._threads -= threads
        self._room[group] -= 1
        return True

    async def note_starts(self, session: AsyncSession, claimed: Collection[TaskRecord]) -> None:
        """Write down when tasks start that a rate limits, and forget what no longer counts."""
        clock = now(session)
        for name in {record.name for record in claimed}:
            rate = self._tasks[name].rate
            if rate is None:
                continue
            over = not_(_counts(clock, rate))
            await session.execute(delete(starts).where(starts.c.name == name, over))
            values = [
                {"task_id": record.id, "name": name, "limit_group": record.limit_group}
                for record in claimed
                if record.name == name
            ]
            await session.execute(insert(starts).values(started_at=clock), values)

    async def _count_running(self, session: AsyncSession, limited: list[Task[..., Any]]) -> None:
        limits = {task.name: task.max_concurrency for task in limited if task.max_concurrency}
        if not limits:
            return
        group = (tasks.c.name, tasks.c.limit_group)
        running = tasks.c.state == TaskState.RUNNING, tasks.c.lease_until >= now(session)
        statement = select(*group, func.count()).where(*running, tasks.c.name.in_(limits))
        for name, limit_group, number in await session.execute(statement.group_by(*group)):
            self._room[limit_group] = limits[name] - number

    async def _count_starts(self, session: AsyncSession, name: str, rate: Rate) -> None:
        clock = now(session)
        recent = and_(starts.c.name == name, _counts(clock, rate))
        until = func.min(starts.c.started_at) + rate.period - clock
        statement = select(starts.c.limit_group, func.count(), until).where(recent)
        for group, number, wait in await session.execute(statement.group_by(starts.c.limit_group)):
            left = rate.count - number
            self._room[group] = min(self._room.get(group, math.inf), left)
            if left <= 0:
                self.next_start = min(self.next_start, wait)


def _counts(clock: ColumnElement[float], rate: Rate) -> ColumnElement[bool]:
    """Say that a start was in the last period; not later, since the clock was set back."""
    return and_(starts.c.started_at > clock - rate.period, starts.c.started_at <= clock)
