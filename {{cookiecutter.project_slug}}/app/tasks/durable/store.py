"""What is written to the table of durable tasks."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Float,
    Update,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from ..info import UNSUCCESSFUL, Progress, TaskRecord, TaskState
from .dialect import dialect_of, notification, now
from .due import IS_OPEN, OPEN, due, due_from, find_due, still_due
from .limits import DurableLimits
from .reader import COLUMNS, Sessions, TaskReader, chosen, to_record
from .table import TICK, tasks


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process has begun."""

    tasks: list[TaskRecord]
    """The most urgent first."""
    more: bool
    """Whether there may be more that are due."""
    locked: set[str]
    """The ids of those that others have locked, and perhaps begin."""


Run = tuple[str, float]
"""The id of the task, and when it was submitted: a key may have begun its row anew since then."""
_LATER = 1e-6
"""Seconds; no other difference than that it is another time."""
_SLACK = 1.0
"""Seconds by which a lease may be too long without being called wrong."""
NOT_COUNTED = {"attempts": tasks.c.attempts - 1}
"""What a row says of a run that is no attempt, though its claim has counted it."""
AT_ONCE = 1000
"""Rows that one transaction changes: it must be short, others wait for it."""
_NEVER_BEGUN = and_((tasks.c.state + "") == TaskState.QUEUED, tasks.c.started_at.is_(None))
# Of pairs SQLite would read the whole table, and without the zero each time for each id.
_ONE_OF_RUNS = and_(
    tasks.c.id.in_(bindparam("ids", expanding=True)),
    (tasks.c.created_at + 0.0).in_(bindparam("times", expanding=True)),
)
_WRITE_PROGRESS = (
    update(tasks).where(tasks.c.id == bindparam("task_id")).values(progress=bindparam("reported"))
)


class TaskStore(TaskReader):
    """The durable tasks of a database. Any number of processes may share it.

    A task belongs to the process whose lease has not run out; nobody else begins it. The first run
    to end decides, whoever owns the task by then. `lease` is in seconds.
    """

    def __init__(self, sessions: Sessions, owner: str, lease: float) -> None:
        super().__init__(sessions)
        self.owner = owner
        self.lease = lease

    async def claim_due(
        self, names: Collection[str], limit: int, besides: Collection[str], limits: DurableLimits
    ) -> Claim:
        """Begin some of the first `limit` tasks of some names that are due and nobody has.

        Those with an id in `besides` are left alone.
        """
        async with self.sessions() as session:
            found = await find_due(session, names, limit, besides=besides)
            # Those behind what is full may start, and have limits of their own.
            while await limits.count(session, {row.name for row in found}):
                free = [name for name in names if name not in limits.full]
                found = await find_due(session, free, limit, besides=besides, full=limits.full)
            ids = [row.id for row in found if limits.admit(row.name, row.limit_group)]
            claimed = await self.claim(session, ids, still_due(now(session))) if ids else []
            await limits.note_starts(session, claimed)
        more = len(found) == limit or len(claimed) < len(found) or bool(limits.full)
        locked = set(ids) - {record.id for record in claimed}
        return Claim(claimed, more, locked)

    async def claim(
        self, session: AsyncSession, ids: Collection[str], free: ColumnElement[bool]
    ) -> list[TaskRecord]:
        """Begin those of some tasks that are free: count the attempt and take the lease.

        Returns them in the order of `ids`.
        """
        values = {"ids": ids, "claimed_by": self.owner, "lease": self.lease}
        found = {row.id: row for row in await session.execute(_claim(now(session), free), values)}
        return [to_record(found[task_id]) for task_id in ids if task_id in found]

    async def backlog(
        self, names: Collection[str], claimed: Collection[str], at_most: int
    ) -> tuple[int, float]:
        """Count the tasks of some names that are due and nobody has, up to a number.

        Also returns the seconds until the first of `claimed` is due that is not yet; inf if there
        is none.
        """
        if not names:  # SQLite would read the whole table for those of none
            return 0, math.inf
        async with self.sessions(read_only=True) as session:
            clock = now(session)
            some = select(tasks.c.id).where(due(clock), tasks.c.name.in_(names)).limit(at_most)
            number = select(func.count()).select_from(some.subquery()).scalar_subquery()
            # The empty text keeps the index of the names out of this: it would read all that wait.
            of_names = (tasks.c.name + "").in_(claimed)
            later = and_(tasks.c.state == TaskState.QUEUED, tasks.c.due_at > clock, of_names)
            seconds = select(func.min(tasks.c.due_at) - clock).where(later).scalar_subquery()
            row = (await session.execute(select(number, seconds))).one()
        return row[0], math.inf if row[1] is None else row[1]

    async def has_work(self, names: Collection[str]) -> bool:
        """Say whether a task is due or waits for another run, and no other process has it."""
        async with self.sessions(read_only=True) as session:
            clock = now(session)
            is_open = tasks.c.finished_at.is_(None), tasks.c.state.in_(OPEN)
            due_or_begun = or_(tasks.c.due_at <= clock, tasks.c.started_at.is_not(None))
            free_or_ours = or_(tasks.c.lease_until < clock, tasks.c.owner == self.owner)
            some = tasks.c.name.in_(names), due_or_begun, free_or_ours
            found = await session.execute(select(tasks.c.id).where(*is_open, *some).limit(1))
            return found.first() is not None

    async def renew(self, runs: Mapping[str, float], progress: Mapping[str, Progress]) -> set[str]:
        """Extend leases of this process, and write down how far those tasks have come.

        `runs` says by id when each was submitted. Returns the ids of those that have ended. What
        another has locked is left out: who waited for it would lose all the others.
        """
        async with self.sessions() as session:
            some = select(tasks.c.id).where(_ONE_OF_RUNS, IS_OPEN)
            is_open = set(await session.scalars(some, _ids_and_times(runs.items())))
            owned = self._owned(is_open, skip=True)
            leased = update(tasks).where(owned).values(lease_until=now(session) + self.lease)
            renewed = set(await session.scalars(leased.returning(tasks.c.id)))
            values = [
                {"task_id": task_id, "reported": json.dumps(asdict(report))}
                for task_id, report in progress.items()
                if task_id in renewed
            ]
            if values:
                await session.execute(_WRITE_PROGRESS, values)
            return runs.keys() - is_open

    async def succeed(self, runs: Collection[Run]) -> None:
        """Write down that tasks have succeeded, unless they had ended; their arguments go."""
        async with self.sessions() as session:
            await session.execute(_success(now(session)), _ids_and_times(runs))

    async def fail(
        self,
        session: AsyncSession,
        task_id: str,
        submitted: float | None,
        values: Mapping[str, Any],
    ) -> TaskRecord | None:
        """Write down that a task has ended without success; None if it had ended.

        It is the one that was `submitted` then, or whatever the id means now if that is None.
        """
        some = [tasks.c.id == task_id]
        if submitted is not None:
            some.append(tasks.c.created_at == submitted)
        ends = _end(now(session), *some).values(**values).returning(*COLUMNS)
        row = (await session.execute(ends)).one_or_none()
        return None if row is None else to_record(row)

    async def requeue(
        self,
        ids: Collection[str],
        delay: float | None,
        error: Mapping[str, str | None] | None = None,
        *,
        counted: bool = False,
        keep_lease: bool = False,
    ) -> None:
        """Let tasks run again that are still ours: in `delay` seconds, or where they stood if None.

        `error` has `error` and `traceback`. The run that has ended is an attempt if `counted`. With
        `keep_lease` the next may begin when a whole lease has ended.
        """
        async with self.sessions() as session:
            clock = now(session)
            values: dict[str, Any] = {"state": TaskState.QUEUED, "owner": None, **(error or {})}
            values["lease_until"] = clock + self.lease if keep_lease else 0.0
            if delay is not None:
                values |= due_from(clock + delay)
            if not counted:
                values |= NOT_COUNTED
            await session.execute(update(tasks).where(self._owned(ids)).values(**values))
            if not delay:
                await session.execute(select(notification(dialect_of(session))))

    async def retry(self, task_id: str) -> int:
        """Let a task that ended without success start over; 0 if it is not one."""
        if not task_id.isprintable():
            return 0
        return await self._start_over(tasks.c.id == task_id, tasks.c.state.in_(UNSUCCESSFUL))

    async def retry_all(self, state: TaskState, name: str | None) -> int:
        """Let all tasks in a state without success start over, perhaps of one name only.

        That is many short transactions: a long one would keep others from writing.
        """
        if state not in UNSUCCESSFUL:
            return 0
        # Not what fails again meanwhile. The zero keeps the index of the ends out of this.
        ended = tasks.c.finished_at + 0.0 <= await self.time()
        number = 0
        while some := await self._start_over(*chosen(state, name), ended):
            number += some
        return number

    async def prune(self, retention: float) -> int:
        """Delete tasks that ended more than `retention` seconds ago; return how many."""
        async with self.sessions() as session:
            limit = now(session) - retention
            old = _locked(tasks.c.finished_at < limit, skip=True, limit=AT_ONCE)
            return await _count_rows(session, delete(tasks).where(old))

    async def waiting(self, first: str, last: str) -> list[tuple[str, str]]:
        """Return the ids, from `first` to `last`, and names of tasks that never began."""
        some = select(tasks.c.id, tasks.c.name).where(tasks.c.id.between(first, last))
        async with self.sessions(read_only=True) as session:
            found = await session.execute(some.where(_NEVER_BEGUN))
            return [(row.id, row.name) for row in found]

    async def delete_waiting(self, ids: Collection[str]) -> None:
        """Delete tasks, but not one that has begun."""
        if ids:
            async with self.sessions() as session:
                some = _locked(tasks.c.id.in_(ids), _NEVER_BEGUN)
                await session.execute(delete(tasks).where(some))

    async def leases_too_long(self) -> set[tuple[str, float]]:
        """Return the ids and ends of the leases that end later than any that is taken now."""
        async with self.sessions(read_only=True) as session:
            latest = now(session) + self.lease + _SLACK
            statement = select(tasks.c.id, tasks.c.lease_until).where(
                tasks.c.state == TaskState.RUNNING, tasks.c.lease_until > latest
            )
            return {(row.id, row.lease_until) for row in await session.execute(statement)}

    async def void_leases(self, ids: Collection[str]) -> None:
        """End the leases of tasks at once."""
        async with self.sessions() as session:
            some = _locked(tasks.c.id.in_(ids))
            await session.execute(update(tasks).where(some).values(lease_until=0.0))

    async def make_due_what_has_no_delay(self) -> None:
        """Let tasks without a delay be due that were submitted before the clock was set back."""
        await self._make_due(tasks.c.due_at == tasks.c.created_at)

    async def bring_forward(self) -> int:
        """Let tasks that wait for their time be due now, but for periodic ones; return how many."""
        return await self._make_due(tasks.c.id.not_like(f"{TICK}%"))

    async def _make_due(self, chosen: ColumnElement[bool]) -> int:
        async with self.sessions() as session:
            clock = now(session)
            early = _locked(tasks.c.state == TaskState.QUEUED, tasks.c.due_at > clock, chosen)
            return await _count_rows(session, update(tasks).where(early).values(**due_from(clock)))

    async def _start_over(self, *chosen: ColumnElement[bool]) -> int:
        async with self.sessions() as session:
            values = {"state": TaskState.QUEUED, "attempts": 0, "finished_at": None}
            # Another time of submission: a run that was cancelled and goes on is not this one's.
            values["created_at"] = tasks.c.created_at + _LATER
            due = due_from(now(session))
            some = _locked(*chosen, skip=True, limit=AT_ONCE)
            statement = update(tasks).where(some).values(**values, **due)
            number = await _count_rows(session, statement)
            if number:
                await session.execute(select(notification(dialect_of(session))))
            return number

    def _owned(self, ids: Collection[str], *, skip: bool = False) -> ColumnElement[bool]:
        owned = tasks.c.owner == self.owner, IS_OPEN, tasks.c.id.in_(ids)
        return _locked(*owned, skip=skip)


async def _count_rows(session: AsyncSession, statement: Update | Delete) -> int:
    """Execute a statement; return how many rows it has changed."""
    # Not `rowcount`: SQLite's driver has none for a statement that begins with WITH.
    return len((await session.execute(statement.returning(tasks.c.id))).all())


@lru_cache  # to build it takes longer than to execute it; so do those below
def _claim(clock: ColumnElement[float], free: ColumnElement[bool]) -> Update:
    """Begin those of the tasks `ids` that are free, `claimed_by` an owner, with a `lease`."""
    wanted = tasks.c.id.in_(bindparam("ids", expanding=True))
    return (
        update(tasks)
        .where(_locked(wanted, free, skip=True))  # what another process is beginning is left to it
        .values(
            state=TaskState.RUNNING,
            attempts=tasks.c.attempts + 1,
            started_at=clock,
            owner=bindparam("claimed_by"),
            lease_until=clock + bindparam("lease", type_=Float),
        )
        .returning(*COLUMNS)
    )


@lru_cache
def _success(clock: ColumnElement[float]) -> Update:
    """End some runs, see `_ids_and_times`, with success."""
    return _end(clock, _ONE_OF_RUNS).values(
        state=TaskState.SUCCEEDED, arguments="{}", error=None, traceback=None
    )


def _end(clock: ColumnElement[float], *some: ColumnElement[bool]) -> Update:
    ended = update(tasks).where(_locked(*some, IS_OPEN))
    return ended.values(finished_at=clock, owner=None, lease_until=0.0)


def _ids_and_times(runs: Collection[Run]) -> dict[str, Any]:
    """Return the parameters of `_ONE_OF_RUNS`."""
    ids, times = zip(*runs, strict=True)
    return {"ids": ids, "times": times}


def _locked(
    *where: ColumnElement[bool], skip: bool = False, limit: int | None = None
) -> ColumnElement[bool]:
    """Say that a task is one of some, which are locked first; `skip` those locked by others.

    Without a limit that is done in one order, so that no two statements wait for each other. As a
    common table expression it is evaluated once, so that a limit holds whatever the plan. SQLite
    leaves the lock out: it has one writer at a time.
    """
    some = select(tasks.c.id).where(*where)
    some = some.order_by(tasks.c.id) if limit is None else some.limit(limit)
    # Not a lock of the key, which the steps of the tasks refer to: they are not to wait for it.
    rows = some.with_for_update(skip_locked=skip, key_share=True).cte("wanted")
    return tasks.c.id.in_(select(rows.c.id))
