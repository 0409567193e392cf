"""The limits of durable tasks: they hold over all processes that share the database."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, not_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..info import TaskRecord, TaskState
from ..rate import Rate
from ..task import Task
from .dialect import lock_claims, now
from .table import starts, tasks


@dataclass(slots=True)
class Usage:
    """What the limits leave to each limit group: a task, or those with one value of its `per`."""

    counted: set[str] = field(default_factory=set)
    """The tasks whose groups are known."""
    room: dict[str, float] = field(default_factory=dict)
    """How many more runs of a group may start now; those without any are not in it."""
    next_start: float = math.inf
    """Seconds until a rate allows another start; inf if none is used up."""

    @property
    def full(self) -> list[str]:
        """The groups of which nothing may start now."""
        return [group for group, room in self.room.items() if room <= 0]


class DurableLimits:
    """Counts in the table what runs and what was started, in the transaction that claims."""

    def __init__(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        self._tasks = tasks

    async def add_to(self, usage: Usage, session: AsyncSession, names: set[str]) -> bool:
        """Count for some more tasks; say whether that has found groups that are full.

        From then on nobody else can claim limited tasks until the session ends.
        """
        known = [self._tasks[name] for name in names - usage.counted if name in self._tasks]
        limited = [task for task in known if task.max_concurrency or task.rate]
        if not limited:
            return False
        await lock_claims(session)
        clock, before = now(session), len(usage.full)
        usage.counted |= {task.name for task in limited}
        narrow = {t.name: t.max_concurrency for t in limited if t.max_concurrency is not None}
        if narrow:
            await _count_running(session, clock, narrow, usage)
        for task in limited:
            if task.rate is not None:
                await _count_starts(session, clock, task.name, task.rate, usage)
        return len(usage.full) > before

    def of(self, name: str) -> float:
        """Return how many runs of a group may start if nothing of it runs or was started."""
        task = self._tasks.get(name)
        if task is None:
            return math.inf
        count = math.inf if task.rate is None else task.rate.count
        return min(task.max_concurrency or math.inf, count)

    def threads_of(self, name: str) -> int:
        """Return how many threads a run needs: one for a sync function."""
        return int(name in self._tasks and not self._tasks[name].is_async)

    async def note_starts(self, session: AsyncSession, claimed: Collection[TaskRecord]) -> None:
        """Write down when tasks start that a rate limits, and forget what no longer counts."""
        clock = now(session)
        for name in {record.name for record in claimed} & self._tasks.keys():
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


async def _count_running(
    session: AsyncSession, clock: ColumnElement[float], limits: Mapping[str, int], usage: Usage
) -> None:
    group = (tasks.c.name, tasks.c.limit_group)
    running = tasks.c.state == TaskState.RUNNING, tasks.c.lease_until >= clock
    statement = select(*group, func.count()).where(*running, tasks.c.name.in_(limits))
    for name, limit_group, number in await session.execute(statement.group_by(*group)):
        usage.room[limit_group] = limits[name] - number


def _counts(clock: ColumnElement[float], rate: Rate) -> ColumnElement[bool]:
    """Say that a start was in the last period; not later, since the clock was set back."""
    return and_(starts.c.started_at > clock - rate.period, starts.c.started_at <= clock)


async def _count_starts(
    session: AsyncSession, clock: ColumnElement[float], name: str, rate: Rate, usage: Usage
) -> None:
    recent = and_(starts.c.name == name, _counts(clock, rate))
    until = func.min(starts.c.started_at) + rate.period - clock
    statement = select(starts.c.limit_group, func.count(), until).where(recent)
    for group, number, seconds in await session.execute(statement.group_by(starts.c.limit_group)):
        left = rate.count - number
        usage.room[group] = min(usage.room.get(group, math.inf), left)
        if left <= 0:
            usage.next_start = min(usage.next_start, seconds)
