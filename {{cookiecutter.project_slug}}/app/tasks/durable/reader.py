"""Reads the table of durable tasks: single tasks, lists for pages, and counts for metrics."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, Subquery, func, literal, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from ..info import UNSUCCESSFUL, Progress, TaskRecord, TaskState
from .dialect import now
from .due import OPEN
from .table import tasks

_FIELDS = list(TaskRecord.__dataclass_fields__)
COLUMNS = [tasks.c[name] for name in _FIELDS]
_LARGE = {"arguments": "", "context": "", "traceback": None}
"""Columns that may have a million bytes, with the values that lists have instead."""
_GROUPED = [tasks.c[name] for name in ("id", "name", "state", "error", "attempts", "finished_at")]
_LISTED = [literal(_LARGE[n]).label(n) if n in _LARGE else tasks.c[n] for n in _FIELDS]
_PROGRESS = TypeAdapter(Progress)
_STATES = {state.value: state for state in TaskState}


class Sessions(Protocol):
    """Opens a session that commits at the end of its block and rolls back on an exception."""

    def __call__(self, *, read_only: bool = ...) -> AbstractAsyncContextManager[AsyncSession]:
        """With `read_only` the caller promises to write nothing."""
        ...


class TaskReader:
    """Reads the durable tasks of all processes that share a database."""

    COUNTED = 10_000
    """Tasks of one state that pages count at most, since more would take too long."""
    SAMPLED = 100_000
    """Tasks of one state, the newest, that `statistics` counts at most."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return a task; None if there is none with this id."""
        if not task_id.isprintable():  # not the id of any task, and some databases reject it
            return None
        async with self.sessions(read_only=True) as session:
            rows = await session.execute(select(*COLUMNS).where(tasks.c.id == task_id))
            row = rows.one_or_none()
        return None if row is None else to_record(row)

    async def counts(self) -> dict[str, int]:
        """Return how many tasks are in each state; `COUNTED` means that many or more."""
        counts: Counter[str] = Counter()
        async with self.sessions(read_only=True) as session:
            for (_, state), number in (await _count(session, self.COUNTED)).items():
                counts[state] += number
        return counts

    async def statistics(self) -> tuple[dict[tuple[str, str], int], float]:
        """Return how many tasks there are by name and state, and the age of the oldest due one.

        The age is in seconds since it became due, and 0 if every due task is running.
        """
        async with self.sessions(read_only=True) as session:
            return await _count(session, self.SAMPLED), await _seconds_overdue(session)

    async def unfinished(self, limit: int) -> list[TaskRecord]:
        """Return the tasks that wait or run in any process, the longest due first."""
        unfinished = select(*_LISTED).where(tasks.c.state.in_(OPEN)).subquery()
        return await self._read(unfinished, unfinished.c.due_at, limit=limit)

    async def recent(self, states: Collection[TaskState], limit: int) -> list[TaskRecord]:
        """Return the tasks in one of `states` that ended last, the latest first.

        Only the newest `COUNTED` of each state are read.
        """
        newest = _newest(_LISTED, states, [], self.COUNTED)
        return await self._read(newest, newest.c.finished_at.desc(), limit=limit)

    async def page(
        self, state: TaskState | None, name: str | None, before: str | None, limit: int
    ) -> tuple[list[TaskRecord], str | None]:
        """Return the newest tasks, optionally of one state and name, and the next page's `before`.

        It is None on the last page. Raises ValueError for a `before` that no page has returned.
        """
        where = [] if name is None else [tasks.c.name == name]
        if before is not None:
            where.append(tuple_(tasks.c.created_at, tasks.c.id) < _parse_before(before))
        async with self.sessions(read_only=True) as session:
            states = [state] if state else await _states(session)
        newest = _newest(_LISTED, states, where, limit + 1)
        order = newest.c.created_at.desc(), newest.c.id.desc()
        records = await self._read(newest, *order, limit=limit + 1)
        last = records[limit - 1] if len(records) > limit else None
        return records[:limit], None if last is None else f"{last.created_at!r}_{last.id}"

    async def failures(self, limit: int) -> Sequence[Row[Any]]:
        """Return the latest failures, grouped by name, state and error.

        Each group has the number of its tasks, their highest number of attempts, the id of one of
        them, and the time of the latest end. Only the newest `COUNTED` of each state are read.
        """
        failed = _newest(_GROUPED, UNSUCCESSFUL, [tasks.c.finished_at.is_not(None)], self.COUNTED)
        group = (failed.c.name, failed.c.state, failed.c.error)
        last = func.max(failed.c.finished_at).label("finished_at")
        numbers = (func.count().label("number"), func.max(failed.c.attempts).label("attempts"))
        example = func.min(failed.c.id).label("task_id")
        statement = select(*group, *numbers, example, last).group_by(*group).order_by(last.desc())
        async with self.sessions(read_only=True) as session:
            return (await session.execute(statement.limit(limit))).all()

    async def count(self, state: TaskState, name: str | None) -> int:
        """Count the tasks in a state, optionally of one name, up to `COUNTED`."""
        rows = select(tasks.c.id).where(*in_state(state, name)).limit(self.COUNTED).subquery()
        async with self.sessions(read_only=True) as session:
            return (await session.execute(select(func.count()).select_from(rows))).scalar_one()

    async def time(self) -> float:
        """Return the time of the clock by which tasks become due, in seconds since the epoch."""
        async with self.sessions(read_only=True) as session:
            return (await session.execute(select(now(session)))).scalar_one()

    async def _read(
        self, rows: Subquery, *order: ColumnElement[Any], limit: int
    ) -> list[TaskRecord]:
        statement = select(rows).order_by(*order).limit(limit)
        async with self.sessions(read_only=True) as session:
            return [to_record(row) for row in await session.execute(statement)]


def in_state(state: TaskState, name: str | None) -> list[ColumnElement[bool]]:
    """Return the conditions for tasks in a state, optionally of one name."""
    return [tasks.c.state == state, *([] if name is None else [tasks.c.name == name])]


def _parse_before(before: str) -> tuple[float, str]:
    """Return the time of submission and the id of the last task of a page."""
    created_at, _, task_id = before.partition("_")
    if not task_id.isprintable():
        raise ValueError(before)
    return float(created_at), task_id


def _newest(
    columns: Sequence[ColumnElement[Any]],
    states: Iterable[str],
    where: Sequence[ColumnElement[bool]],
    limit: int,
) -> Subquery:
    """Select the newest tasks of each state, with one index search for each."""
    order = (tasks.c.created_at.desc(), tasks.c.id.desc())
    by_state = [
        select(*columns).where(tasks.c.state == state, *where).order_by(*order).limit(limit)
        for state in states
    ]
    return union_all(*(select(query.subquery()) for query in by_state)).subquery()


async def _states(session: AsyncSession) -> set[str]:
    """Return the states that this release knows or the table has: one index search for each."""
    first = select(func.min(tasks.c.state).label("state")).cte(recursive=True)
    following = select(func.min(tasks.c.state)).where(tasks.c.state > first.c.state)
    every = first.union_all(select(following.scalar_subquery()).where(first.c.state.is_not(None)))
    rows = await session.execute(select(every.c.state).where(every.c.state.is_not(None)))
    return {*TaskState, *rows.scalars()}


async def _count(session: AsyncSession, at_most: int) -> dict[tuple[str, str], int]:
    """Count the newest `at_most` tasks of each state, by name and state."""
    name, state = _newest([tasks.c.name, tasks.c.state], await _states(session), [], at_most).c
    rows = await session.execute(select(name, state, func.count()).group_by(name, state))
    return {(name, state): number for name, state, number in rows}


async def _seconds_overdue(session: AsyncSession) -> float:
    """Return the seconds since the oldest task became due that no process runs; 0 without one."""
    clock = now(session)
    oldest = select(func.min(tasks.c.due_at)).where(tasks.c.due_at <= clock)
    # Whatever its lease: a queued task that was announced to workers has one, and does not run.
    queued = oldest.where(tasks.c.state == TaskState.QUEUED)
    running = oldest.where(tasks.c.state == TaskState.RUNNING, tasks.c.lease_until < clock)
    statement = select(clock, queued.scalar_subquery(), running.scalar_subquery())
    time, *due = (await session.execute(statement)).one()
    return max((time - due_at for due_at in due if due_at is not None), default=0.0)


def to_record(row: Row[Any]) -> TaskRecord:
    """Return a row as a record, whichever release has written it."""
    values = {name: getattr(row, name) for name in _FIELDS}
    values["state"] = _STATES.get(row.state, row.state)
    values["progress"] = None if row.progress is None else _progress(row.progress)
    return TaskRecord(**values)


def _progress(text: str) -> Progress | None:
    """Read what `TaskStore.renew` has written; None if another release writes it differently."""
    try:
        return _PROGRESS.validate_json(text)
    except ValueError:
        return None
