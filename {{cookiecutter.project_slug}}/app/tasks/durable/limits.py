"""The limits of durable tasks, which hold over all processes that share the database."""

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
    """What one claim may start in each limit group: a task, or one value of its `per`.

    It counts runs and starts in the tables, in the transaction of the claim.
    """

    def __init__(self, tasks: Mapping[str, Task[..., Any]], threads: float) -> None:
        self._tasks = tasks
        self._threads = threads
        """How many more sync functions this process can run."""
        self._counted: set[str] = set()
        """The names of limited tasks whose runs and starts have been counted."""
        self._room: dict[str, float] = {}
        """How many more runs of a group may start; groups without any run or start are missing."""
        self.next_start = math.inf
        """Seconds until a used-up rate allows another start; inf if none is used up."""

    @property
    def full(self) -> list[str]:
        """The groups in which nothing may start now."""
        return [group for group, room in self._room.items() if room <= 0]

    async def count(self, session: AsyncSession, names: set[str]) -> None:
        """Count the runs of tasks not counted yet.

        If any is limited, other processes cannot claim limited tasks until the session ends.
        """
        new = [self._tasks[name] for name in names - self._counted]
        limited = [task for task in new if task.max_concurrency or task.rate]
        if not limited:
            return
        await lock_claims(session)
        self._counted |= {task.name for task in limited}
        await self._count_running(session, limited)
        for task in limited:
            if task.rate is not None:
                await self._count_starts(session, task, task.rate)

    def admit(self, name: str, group: str) -> bool:
        """Reserve what a run needs; False if there is no thread, or no room in its group."""
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
        """Record the starts of tasks that have a rate, and delete those that no longer count."""
        clock = now(session)
        for name in {record.name for record in claimed}:
            rate = self._tasks[name].rate
            if rate is None:
                continue
            old = not_(_is_recent(clock, rate))
            await session.execute(delete(starts).where(starts.c.name == name, old))
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

    async def _count_starts(self, session: AsyncSession, task: Task[..., Any], rate: Rate) -> None:
        clock, at_once = now(session), task.max_concurrency or math.inf
        recent = and_(starts.c.name == task.name, _is_recent(clock, rate))
        until = func.min(starts.c.started_at) + rate.period - clock
        statement = select(starts.c.limit_group, func.count(), until).where(recent)
        for group, number, wait in await session.execute(statement.group_by(starts.c.limit_group)):
            room = rate.count - number
            self._room[group] = min(self._room.get(group, at_once), room)
            if room <= 0:
                self.next_start = min(self.next_start, wait)


def _is_recent(clock: ColumnElement[float], rate: Rate) -> ColumnElement[bool]:
    """Select starts of the last period; one in the future is from before a clock was set back."""
    return and_(starts.c.started_at > clock - rate.period, starts.c.started_at <= clock)
