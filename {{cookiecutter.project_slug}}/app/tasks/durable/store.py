"""Writes to the table of durable tasks: claims, leases, ends, retries, deletions."""

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
from .reader import COLUMNS, Sessions, TaskReader, in_state, to_record
from .table import TICK, tasks


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of a claim."""

    tasks: list[TaskRecord]
    """The claimed tasks, the most urgent first."""
    more: bool
    """Whether more tasks may be due."""
    locked: set[str]
    """The ids of due tasks that other transactions have locked, perhaps to claim them."""


Run = tuple[str, float]
"""A task's id and the time of its submission, which tells it from a later task with its key."""
_LATER = 1e-6
"""Seconds that are added to a time of submission, only to make it another one."""
_SLACK = 1.0
"""Seconds by which a lease may end too late before it counts as wrong."""
NOT_COUNTED = {"attempts": tasks.c.attempts - 1}
"""Takes back the attempt that the claim has counted, for a run that is no attempt."""
MAX_ROWS = 1000
"""Rows that one transaction changes at most: others wait for it, so it must be short."""
_NEVER_STARTED = and_((tasks.c.state + "") == TaskState.QUEUED, tasks.c.started_at.is_(None))
# For pairs SQLite would read the whole table, and without the zero try each time with each id.
_ONE_OF_RUNS = and_(
    tasks.c.id.in_(bindparam("ids", expanding=True)),
    (tasks.c.created_at + 0.0).in_(bindparam("times", expanding=True)),
)


class TaskStore(TaskReader):
    """The durable tasks of a database, which any number of processes may share.

    Until its lease runs out, a task belongs to the process that has claimed it. Of two runs the
    first to end decides, whichever process owns the task by then. `lease` is in seconds.
    """

    def __init__(self, sessions: Sessions, owner: str, lease: float) -> None:
        super().__init__(sessions)
        self.owner = owner
        self.lease = lease

    async def claim_due(
        self, names: Collection[str], limit: int, exclude: Collection[str], limits: DurableLimits
    ) -> Claim:
        """Claim those of the first `limit` due tasks of `names` that their limits admit.

        Tasks with an id in `exclude` are passed over.
        """
        ids: list[str] = []
        first = -math.inf
        async with self.sessions() as session:
            while True:  # tasks behind those of a full limit may still start
                full, room, passed = limits.full, limit - len(ids), [*exclude, *ids]
                free = [name for name in names if name not in full]
                rows = await find_due(session, free, room, first, exclude=passed, full=full)
                await limits.count(session, {row.name for row in rows})
                admitted = [row.id for row in rows if limits.admit(row.name, row.limit_group)]
                ids += admitted
                if len(admitted) == len(rows) or full == limits.full:
                    break
                first = rows[-1].position
            claimed = await self.claim(session, ids, still_due(now(session))) if ids else []
            await limits.note_starts(session, claimed)
        refused = len(admitted) < len(rows) or len(claimed) < len(ids) or bool(limits.full)
        locked = set(ids) - {record.id for record in claimed}
        return Claim(claimed, len(ids) == limit or refused, locked)

    async def claim(
        self, session: AsyncSession, ids: Collection[str], free: ColumnElement[bool]
    ) -> list[TaskRecord]:
        """Claim the tasks `ids` as far as they are `free`: count an attempt, take a lease.

        Returns them in the order of `ids`.
        """
        values = {"ids": ids, "claimed_by": self.owner, "lease": self.lease}
        rows = {row.id: row for row in await session.execute(_claim(now(session), free), values)}
        return [to_record(rows[task_id]) for task_id in ids if task_id in rows]

    async def backlog(
        self, names: Collection[str], claimed: Collection[str], at_most: int
    ) -> tuple[int, float]:
        """Count the tasks of `names` that are due and free, up to `at_most`.

        Also returns the seconds until the next task of the names `claimed` becomes due; inf if
        there is none.
        """
        if not names:  # for an empty list SQLite would read the whole table
            return 0, math.inf
        async with self.sessions(read_only=True) as session:
            clock = now(session)
            rows = select(tasks.c.id).where(due(clock), tasks.c.name.in_(names)).limit(at_most)
            number = select(func.count()).select_from(rows.subquery()).scalar_subquery()
            # The empty text avoids the index by name, which would read all waiting tasks.
            of_names = (tasks.c.name + "").in_(claimed)
            delayed = and_(tasks.c.state == TaskState.QUEUED, tasks.c.due_at > clock, of_names)
            seconds = select(func.min(tasks.c.due_at) - clock).where(delayed).scalar_subquery()
            row = (await session.execute(select(number, seconds))).one()
        return row[0], math.inf if row[1] is None else row[1]

    async def has_work(self, names: Collection[str]) -> bool:
        """Say whether a task is due, runs, or waits for another run, unless others have it."""
        async with self.sessions(read_only=True) as session:
            clock = now(session)
            is_open = tasks.c.finished_at.is_(None), tasks.c.state.in_(OPEN)
            due_or_started = or_(tasks.c.due_at <= clock, tasks.c.started_at.is_not(None))
            free_or_ours = or_(tasks.c.lease_until < clock, tasks.c.owner == self.owner)
            conditions = *is_open, tasks.c.name.in_(names), due_or_started, free_or_ours
            rows = await session.execute(select(tasks.c.id).where(*conditions).limit(1))
            return rows.first() is not None

    async def renew(self, runs: Mapping[str, float], progress: Mapping[str, Progress]) -> set[str]:
        """Renew the leases of this process, and write the progress of their tasks.

        `runs` has the time of submission by id. Returns the ids of runs that are no longer open.
        Rows that others have locked are skipped: to wait for one would lose all other leases.
        """
        async with self.sessions() as session:
            open_runs = select(tasks.c.id).where(_ONE_OF_RUNS, IS_OPEN)
            open_ids = set(await session.scalars(open_runs, _ids_and_times(runs.items())))
            owned = self._owned(open_ids, skip=True)
            renew = update(tasks).where(owned).values(lease_until=now(session) + self.lease)
            renewed = set(await session.scalars(renew.returning(tasks.c.id)))
            for task_id in renewed & progress.keys():
                reported = json.dumps(asdict(progress[task_id]))
                row = update(tasks).where(tasks.c.id == task_id)
                await session.execute(row.values(progress=reported))
            return runs.keys() - open_ids

    async def succeed(self, runs: Collection[Run]) -> None:
        """Record that runs have succeeded, unless their tasks had ended; clear the arguments."""
        async with self.sessions() as session:
            await session.execute(_success(now(session)), _ids_and_times(runs))

    async def fail(
        self,
        session: AsyncSession,
        task_id: str,
        submitted: float | None,
        values: Mapping[str, Any],
    ) -> TaskRecord | None:
        """Record that a task has ended without success; return None if it had ended before.

        `submitted` is the time of its submission; None ends whatever task has the id now.
        """
        conditions = [tasks.c.id == task_id]
        if submitted is not None:
            conditions.append(tasks.c.created_at == submitted)
        end = _end(now(session), *conditions).values(**values).returning(*COLUMNS)
        row = (await session.execute(end)).one_or_none()
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
        """Queue tasks of this process again, due in `delay` seconds; None keeps their position.

        `error` has the columns `error` and `traceback`. The run that has ended is an attempt if
        `counted`. With `keep_lease` the next run can start only after another whole lease.
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
        """Start over a task that has ended without success; return how many were: 0 or 1."""
        if not task_id.isprintable():
            return 0
        return await self._start_over(tasks.c.id == task_id, tasks.c.state.in_(UNSUCCESSFUL))

    async def retry_all(self, state: TaskState, name: str | None) -> int:
        """Start over all tasks in a state without success, optionally of one name; return how many.

        It takes many short transactions: a long one would keep others from writing.
        """
        if state not in UNSUCCESSFUL:
            return 0
        # Not tasks that fail again meanwhile. The zero avoids the index on `finished_at`.
        ended = tasks.c.finished_at + 0.0 <= await self.time()
        total = 0
        while number := await self._start_over(*in_state(state, name), ended):
            total += number
        return total

    async def prune(self, retention: float) -> int:
        """Delete tasks that ended more than `retention` seconds ago; return how many."""
        async with self.sessions() as session:
            limit = now(session) - retention
            old = _locked(tasks.c.finished_at < limit, skip=True, limit=MAX_ROWS)
            return await _count_rows(session, delete(tasks).where(old))

    async def waiting(self, first: str, last: str) -> list[tuple[str, str]]:
        """Return id and name of the tasks between two ids that have never started."""
        waiting = select(tasks.c.id, tasks.c.name).where(_NEVER_STARTED)
        async with self.sessions(read_only=True) as session:
            rows = await session.execute(waiting.where(tasks.c.id.between(first, last)))
            return [(row.id, row.name) for row in rows]

    async def delete_waiting(self, ids: Collection[str]) -> None:
        """Delete tasks, except those that have started."""
        if ids:
            async with self.sessions() as session:
                waiting = _locked(tasks.c.id.in_(ids), _NEVER_STARTED)
                await session.execute(delete(tasks).where(waiting))

    async def leases_too_long(self) -> set[tuple[str, float]]:
        """Return id and end of each lease that ends later than one that is taken now."""
        async with self.sessions(read_only=True) as session:
            latest = now(session) + self.lease + _SLACK
            statement = select(tasks.c.id, tasks.c.lease_until).where(
                tasks.c.state == TaskState.RUNNING, tasks.c.lease_until > latest
            )
            return {(row.id, row.lease_until) for row in await session.execute(statement)}

    async def void_leases(self, ids: Collection[str]) -> None:
        """End the leases of tasks at once."""
        async with self.sessions() as session:
            voided = _locked(tasks.c.id.in_(ids))
            await session.execute(update(tasks).where(voided).values(lease_until=0.0))

    async def make_undelayed_due(self) -> None:
        """Make tasks without a delay due now: after the clock was set back they would wait."""
        await self._make_due(tasks.c.due_at == tasks.c.created_at)

    async def bring_forward(self) -> int:
        """Make delayed tasks due now, except periodic ones; return how many."""
        return await self._make_due(tasks.c.id.not_like(f"{TICK}%"))

    async def _make_due(self, condition: ColumnElement[bool]) -> int:
        async with self.sessions() as session:
            clock = now(session)
            later = _locked(tasks.c.state == TaskState.QUEUED, tasks.c.due_at > clock, condition)
            return await _count_rows(session, update(tasks).where(later).values(**due_from(clock)))

    async def _start_over(self, *conditions: ColumnElement[bool]) -> int:
        async with self.sessions() as session:
            values = {"state": TaskState.QUEUED, "attempts": 0, "finished_at": None}
            # A new time of submission: a cancelled run that still goes on cannot end this task.
            values["created_at"] = tasks.c.created_at + _LATER
            due = due_from(now(session))
            ended = _locked(*conditions, skip=True, limit=MAX_ROWS)
            statement = update(tasks).where(ended).values(**values, **due)
            if number := await _count_rows(session, statement):
                await session.execute(select(notification(dialect_of(session))))
            return number

    def _owned(self, ids: Collection[str], *, skip: bool = False) -> ColumnElement[bool]:
        owned = tasks.c.owner == self.owner, IS_OPEN, tasks.c.id.in_(ids)
        return _locked(*owned, skip=skip)


async def _count_rows(session: AsyncSession, statement: Update | Delete) -> int:
    """Execute a statement; return how many rows it has changed."""
    # Not `rowcount`: SQLite's driver does not count for statements that begin with WITH.
    return len((await session.execute(statement.returning(tasks.c.id))).all())


@lru_cache  # building this statement or the next takes longer than executing it
def _claim(clock: ColumnElement[float], free: ColumnElement[bool]) -> Update:
    """Return the statement of `TaskStore.claim`."""
    wanted = tasks.c.id.in_(bindparam("ids", expanding=True))
    return (
        update(tasks)
        .where(_locked(wanted, free, skip=True))  # others may be claiming the skipped rows
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
    """Return the statement that ends runs with success; see `_ids_and_times`."""
    return _end(clock, _ONE_OF_RUNS).values(
        state=TaskState.SUCCEEDED, arguments="{}", error=None, traceback=None, progress=None
    )


def _end(clock: ColumnElement[float], *conditions: ColumnElement[bool]) -> Update:
    end = update(tasks).where(_locked(*conditions, IS_OPEN))
    return end.values(finished_at=clock, owner=None, lease_until=0.0)


def _ids_and_times(runs: Collection[Run]) -> dict[str, Any]:
    """Return the parameters of `_ONE_OF_RUNS`."""
    ids, times = zip(*runs, strict=True)
    return {"ids": ids, "times": times}


def _locked(
    *conditions: ColumnElement[bool], skip: bool = False, limit: int | None = None
) -> ColumnElement[bool]:
    """Select rows by conditions and lock them; `skip` leaves out rows that others have locked.

    Without a limit they are locked in the order of their ids, so that two statements cannot
    deadlock. The common table expression is evaluated once, so that a limit holds whatever the
    plan. SQLite ignores the lock: it has one writer at a time.
    """
    ids = select(tasks.c.id).where(*conditions)
    ids = ids.order_by(tasks.c.id) if limit is None else ids.limit(limit)
    # The key itself stays unlocked: new steps refer to it, and must not wait for this.
    locked = ids.with_for_update(skip_locked=skip, key_share=True).cte("wanted")
    return tasks.c.id.in_(select(locked.c.id))
