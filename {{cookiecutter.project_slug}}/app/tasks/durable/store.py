"""Every statement on the table of durable tasks."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    delete,
    func,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from ..info import TaskState
from ..priority import PRIORITIES
from .table import tasks


class Sessions(Protocol):
    """Opens a session that commits at the end of its block and rolls back on an exception."""

    def __call__(self, *, read_only: bool = ...) -> AbstractAsyncContextManager[AsyncSession]:
        """`read_only` promises to write nothing."""
        ...


_OPEN = (TaskState.QUEUED, TaskState.RUNNING)
_RETRYABLE = (TaskState.DEAD, TaskState.FAILED, TaskState.TIMED_OUT, TaskState.CANCELLED)
_CLOCK_GRACE = 1.0
"""Seconds by which the clocks of two processes may differ."""
PRUNED_AT_ONCE = 1000
"""Rows deleted in one transaction: it must be short, others wait for it."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A durable task as it stands in the table. Moments are seconds since the epoch."""

    id: str
    name: str
    arguments: str
    context: str
    priority: int
    timeout: float | None
    state: TaskState
    attempts: int
    error: str | None
    created_at: float
    due_at: float
    started_at: float | None
    finished_at: float | None


_COLUMNS = [tasks.c[name] for name in TaskRecord.__dataclass_fields__]


class TaskStore:
    """The durable tasks of a database. Any number of processes may share it.

    A task belongs to the process whose lease has not run out; everybody else keeps off. Clocks
    of the processes may differ by much less than a lease.
    """

    def __init__(self, sessions: Sessions, owner: str, lease: float, aging: float) -> None:
        self._sessions = sessions
        self._owner = owner
        self._lease = lease
        self._aging = aging

    def row(self, values: dict[str, Any], *, claimed: bool) -> dict[str, Any]:
        """Complete the values of a new row; `claimed` if this process is going to run it."""
        return {
            **values,
            "state": TaskState.QUEUED,
            "attempts": 0,
            "owner": self._owner if claimed else None,
            "lease_until": time.time() + self._lease if claimed else 0.0,
        }

    async def claim(
        self,
        names: Mapping[str, float],
        limit: int,
        besides: Collection[str] = (),
        *,
        many: bool = False,
    ) -> list[TaskRecord]:
        """Take up to `limit` tasks that are due and nobody has, the most urgent first.

        `names` says how many of each, `math.inf` for as many as there are. Those with an id in
        `besides` are left alone. With `many` the statement is one for thousands of waiting tasks.
        """
        now = time.time()
        first = self._first_of_many if many else self._first
        free = and_(self._due(now), tasks.c.id.not_in(besides))
        plenty = [name for name, number in names.items() if math.isinf(number)]
        few = [
            tasks.c.id.in_(first(and_(free, tasks.c.name == name), int(number)))
            for name, number in names.items()
            if not math.isinf(number)
        ]
        wanted = first(and_(free, or_(tasks.c.name.in_(plenty), *few)), limit)
        statement = (
            update(tasks)
            .where(_locked(wanted, skip=True))
            .values(owner=self._owner, lease_until=now + self._lease)
            .returning(*_COLUMNS)
        )
        async with self._sessions() as session:
            found = [_record(row) for row in await session.execute(statement)]
        return sorted(found, key=self._key)

    async def take(self, task_id: str) -> TaskRecord | None:
        """Take one task that is due and nobody has; None if there is no such task any more.

        A task that was only put aside, see `put_aside`, can be taken.
        """
        now = time.time()
        nobodys = or_(tasks.c.owner.is_(None), tasks.c.lease_until < now)
        statement = (
            update(tasks)
            .where(
                tasks.c.id == task_id,
                tasks.c.state.in_(_OPEN),
                tasks.c.due_at <= now + _CLOCK_GRACE,
                nobodys,
            )
            .values(owner=self._owner, lease_until=now + self._lease)
            .returning(*_COLUMNS)
        )
        async with self._sessions() as session:
            row = (await session.execute(statement)).one_or_none()
        return None if row is None else _record(row)

    async def put_aside(self, ids: Collection[str], seconds: float) -> None:
        """Let nobody claim tasks of this process for a while; `take` can have them at once."""
        await self._change(ids, owner=None, lease_until=time.time() + seconds)

    async def backlog(self, names: Collection[str]) -> int:
        """Count the tasks that are due and nobody has."""
        statement = select(func.count()).where(self._due(time.time()), tasks.c.name.in_(names))
        async with self._sessions(read_only=True) as session:
            return (await session.execute(statement)).scalar_one()

    async def next_due(self, names: Collection[str], after: float) -> float:
        """Return the seconds until the first task is due that was not yet at the moment `after`.

        It is inf if there is none.
        """
        statement = select(func.min(tasks.c.due_at)).where(
            tasks.c.state == TaskState.QUEUED, tasks.c.name.in_(names), tasks.c.due_at > after
        )
        async with self._sessions(read_only=True) as session:
            moment = (await session.execute(statement)).scalar_one()
        return math.inf if moment is None else moment - time.time()

    async def renew(self, ids: Collection[str]) -> set[str]:
        """Extend the lease of tasks; return those that are still this process's."""
        statement = (
            update(tasks)
            .where(self._held(ids))
            .values(lease_until=time.time() + self._lease)
            .returning(tasks.c.id)
        )
        async with self._sessions() as session:
            return set((await session.execute(statement)).scalars())

    async def begin(self, ids: Collection[str]) -> dict[str, int]:
        """Count runs before they start; return their numbers, without the tasks that were lost."""
        now = time.time()
        statement = (
            update(tasks)
            .where(self._held(ids))
            .values(
                state=TaskState.RUNNING,
                attempts=tasks.c.attempts + 1,
                started_at=now,
                lease_until=now + self._lease,
            )
            .returning(tasks.c.id, tasks.c.attempts)
        )
        async with self._sessions() as session:
            rows = (await session.execute(statement)).all()
        return {row.id: row.attempts for row in rows}

    async def repeat(self, task_id: str, delay: float, error: str) -> None:
        """Write down a failed run that is repeated in `delay` seconds."""
        now = time.time()
        await self._change(
            [task_id],
            state=TaskState.QUEUED,
            due_at=now + delay,
            lease_until=now + self._lease,
            error=error,
        )

    async def finish(self, ids: Collection[str], state: TaskState, error: str | None) -> None:
        """Write down how tasks ended."""
        await self._change(
            ids, state=state, finished_at=time.time(), owner=None, lease_until=0.0, error=error
        )

    async def release(self, ids: Collection[str], *, began: bool, keep_lease: bool = False) -> None:
        """Give tasks back for anybody to take; a run that a shutdown broke off does not count.

        `keep_lease` lets them wait for the end of a whole lease.
        """
        await self._change(
            ids,
            state=TaskState.QUEUED,
            attempts=tasks.c.attempts - 1 if began else tasks.c.attempts,
            owner=None,
            lease_until=time.time() + self._lease if keep_lease else 0.0,
        )

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return one task."""
        if not task_id.isprintable():  # no id looks like that, and not every database takes it
            return None
        async with self._sessions(read_only=True) as session:
            row = (
                await session.execute(select(*_COLUMNS).where(tasks.c.id == task_id))
            ).one_or_none()
        return None if row is None else _record(row)

    async def counts(self) -> dict[TaskState, int]:
        """Return how many tasks the table holds in each state."""
        statement = select(tasks.c.state, func.count()).group_by(tasks.c.state)
        async with self._sessions(read_only=True) as session:
            rows = (await session.execute(statement)).all()
        return {TaskState(state): count for state, count in rows}

    async def unfinished(self, limit: int) -> list[TaskRecord]:
        """Return the oldest tasks that wait or run, in whichever process."""
        statement = (
            select(*_COLUMNS).where(tasks.c.state.in_(_OPEN)).order_by(tasks.c.due_at).limit(limit)
        )
        async with self._sessions(read_only=True) as session:
            return [_record(row) for row in await session.execute(statement)]

    async def recent(self, states: Collection[TaskState], limit: int) -> list[TaskRecord]:
        """Return the tasks that ended last in one of `states`."""
        statement = (
            select(*_COLUMNS)
            .where(tasks.c.state.in_(states), tasks.c.finished_at.is_not(None))
            .order_by(tasks.c.finished_at.desc())
            .limit(limit)
        )
        async with self._sessions(read_only=True) as session:
            return [_record(row) for row in await session.execute(statement)]

    async def retry(self, task_id: str) -> bool:
        """Let a task that ended without success start over; False if it is not one."""
        statement = (
            update(tasks)
            .where(tasks.c.id == task_id, tasks.c.state.in_(_RETRYABLE))
            .values(
                state=TaskState.QUEUED,
                attempts=0,
                due_at=time.time(),
                finished_at=None,
                owner=None,
                lease_until=0.0,
            )
        )
        return await self._affects(task_id, statement)

    async def cancel(self, task_id: str) -> bool:
        """End a task that has not ended, whoever has it; False if there is none.

        The process that has it learns of it when it next renews its lease.
        """
        statement = (
            update(tasks)
            .where(tasks.c.id == task_id, tasks.c.state.in_(_OPEN))
            .values(state=TaskState.CANCELLED, finished_at=time.time(), owner=None, lease_until=0.0)
        )
        return await self._affects(task_id, statement)

    async def prune(self, retention: float) -> int:
        """Delete tasks that ended more than `retention` seconds ago; return how many."""
        old = (
            select(tasks.c.id)
            .where(tasks.c.finished_at < time.time() - retention)
            .limit(PRUNED_AT_ONCE)
        )
        async with self._sessions() as session:
            result = await session.execute(
                delete(tasks).where(_locked(old, skip=True)).returning(tasks.c.id)
            )
            return len(result.all())

    def _due(self, now: float) -> ColumnElement[bool]:
        return and_(tasks.c.state.in_(_OPEN), tasks.c.lease_until < now, tasks.c.due_at <= now)

    def _first(self, condition: ColumnElement[bool], limit: int) -> Select[tuple[str]]:
        return select(tasks.c.id).where(condition).order_by(*self._order(tasks.c)).limit(limit)

    def _first_of_many(self, condition: ColumnElement[bool], limit: int) -> Select[tuple[str]]:
        """Do what `_first` does, which sorts all that is due, with an index.

        The first of each priority are side by side there. The statement takes longer to make.
        """
        firsts = union_all(
            *(
                select(
                    select(tasks.c.id, tasks.c.priority, tasks.c.due_at)
                    .where(tasks.c.finished_at.is_(None), tasks.c.priority == priority, condition)
                    .order_by(tasks.c.due_at)
                    .limit(limit)
                    .subquery()
                )
                for priority in PRIORITIES
            )
        ).subquery()
        ids = select(firsts.c.id).order_by(*self._order(firsts.c)).limit(limit)
        # The condition once more: it is what is looked at again after a wait for a lock.
        return select(tasks.c.id).where(tasks.c.id.in_(ids), condition)

    def _held(self, ids: Collection[str]) -> ColumnElement[bool]:
        mine = and_(tasks.c.owner == self._owner, tasks.c.state.in_(_OPEN), tasks.c.id.in_(ids))
        # In one order, so that no two statements wait for each other.
        return _locked(select(tasks.c.id).where(mine).order_by(tasks.c.id))

    def _order(self, columns: Any) -> Sequence[ColumnElement[Any]]:
        if math.isinf(self._aging):
            return [columns.priority, columns.due_at]
        return [columns.due_at + columns.priority * self._aging]

    def _key(self, record: TaskRecord) -> tuple[float, float]:
        if math.isinf(self._aging):
            return (record.priority, record.due_at)
        return (record.due_at + record.priority * self._aging, 0.0)

    async def _change(self, ids: Collection[str], **values: Any) -> None:
        async with self._sessions() as session:
            await session.execute(update(tasks).where(self._held(ids)).values(**values))

    async def _affects(self, task_id: str, statement: Any) -> bool:
        if not task_id.isprintable():
            return False
        async with self._sessions() as session:
            rows = await session.execute(statement.returning(tasks.c.id))
            return rows.first() is not None


def _locked(wanted: Select[tuple[str]], *, skip: bool = False) -> ColumnElement[bool]:
    """Say that a task is one of `wanted`, which are locked first; `skip` those locked by others.

    As a common table expression it is evaluated once, so that a limit holds whatever the plan.
    SQLite leaves the lock out: it has one writer at a time.
    """
    rows = wanted.with_for_update(skip_locked=skip).cte("wanted")
    return tasks.c.id.in_(select(rows.c.id))


def _record(row: Row[Any]) -> TaskRecord:
    values = row._asdict()
    return TaskRecord(**{**values, "state": TaskState(values["state"])})
