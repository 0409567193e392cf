"""What is read of the table of durable tasks, for pages, metrics and whoever asks for one."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from pydantic import TypeAdapter
from sqlalchemy import (
    ColumnElement,
    Row,
    Subquery,
    func,
    literal,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from ..info import UNSUCCESSFUL, Progress, TaskRecord, TaskState
from .dialect import now
from .due import OPEN
from .table import tasks

_FIELDS = list(TaskRecord.__dataclass_fields__)
COLUMNS = [tasks.c[name] for name in _FIELDS]
_LARGE = {"arguments": "", "context": "", "traceback": None}
"""What lists leave out: it may be a million bytes a task."""
_GROUPED = [tasks.c[name] for name in ("id", "name", "state", "error", "attempts", "finished_at")]
_LISTED = [literal(_LARGE[n]).label(n) if n in _LARGE else tasks.c[n] for n in _FIELDS]
_PROGRESS = TypeAdapter(Progress)
_STATES = {state.value: state for state in TaskState}


class Sessions(Protocol):
    """Opens a session that commits at the end of its block and rolls back on an exception."""

    def __call__(self, *, read_only: bool = ...) -> AbstractAsyncContextManager[AsyncSession]:
        """`read_only` promises to write nothing."""
        ...


class TaskReader:
    """Reads the durable tasks of a database, of all processes."""

    COUNTED = 10_000
    """Tasks of one state that `counts` counts: more take longer than a page may."""
    SAMPLED = 100_000
    """Tasks of one state, the newest, whose names `statistics` reads."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return one task."""
        if not task_id.isprintable():  # no id is like that, and not every database takes it
            return None
        async with self.sessions(read_only=True) as session:
            rows = await session.execute(select(*COLUMNS).where(tasks.c.id == task_id))
            row = rows.one_or_none()
        return None if row is None else to_record(row)

    async def counts(self) -> dict[str, int]:
        """Return how many tasks are in each state; `COUNTED` means so many or more."""
        counts: Counter[str] = Counter()
        async with self.sessions(read_only=True) as session:
            for (_, state), number in (await _count(session, self.COUNTED)).items():
                counts[state] += number
        return counts

    async def statistics(self) -> tuple[dict[tuple[str, str], int], float]:
        """Return how many tasks there are by name and state, and for how long one has been due.

        That is in seconds, of the oldest that nobody runs; 0 if there is none.
        """
        async with self.sessions(read_only=True) as session:
            return await _count(session, self.SAMPLED), await _seconds_overdue(session)

    async def unfinished(self, limit: int) -> list[TaskRecord]:
        """Return the oldest tasks that wait or run, in whichever process."""
        found = select(*_LISTED).where(tasks.c.state.in_(OPEN)).subquery()
        return await self._read(found, found.c.due_at, limit=limit)

    async def recent(self, states: Collection[TaskState], limit: int) -> list[TaskRecord]:
        """Return the tasks that ended last in one of `states`.

        Of each state the newest `COUNTED` are read.
        """
        found = _newest(_LISTED, states, [], self.COUNTED)
        return await self._read(found, found.c.finished_at.desc(), limit=limit)

    async def page(
        self, state: TaskState | None, name: str | None, before: str | None, limit: int
    ) -> tuple[list[TaskRecord], str | None]:
        """Return the newest tasks, perhaps of one state and name, and `before` for the next page.

        That is None on the last page. Raises ValueError for a `before` that no page has given.
        """
        where = [] if name is None else [tasks.c.name == name]
        if before is not None:
            where.append(tuple_(tasks.c.created_at, tasks.c.id) < _position(before))
        async with self.sessions(read_only=True) as session:
            states = [state] if state else await _states(session)
        found = _newest(_LISTED, states, where, limit + 1)
        order = found.c.created_at.desc(), found.c.id.desc()
        records = await self._read(found, *order, limit=limit + 1)
        last = records[limit - 1] if len(records) > limit else None
        return records[:limit], None if last is None else f"{last.created_at!r}_{last.id}"

    async def failures(self, limit: int) -> Sequence[Row[Any]]:
        """Return the latest failures: those of one task in one state with equal errors are one.

        Each with their number, the id of one of them, the most attempts that one had, and when the
        last of them ended. Of each state the newest `COUNTED` are read.
        """
        found = _newest(_GROUPED, UNSUCCESSFUL, [tasks.c.finished_at.is_not(None)], self.COUNTED)
        kind = (found.c.name, found.c.state, found.c.error)
        last = func.max(found.c.finished_at).label("finished_at")
        numbers = (func.count().label("number"), func.max(found.c.attempts).label("attempts"))
        one = func.min(found.c.id).label("task_id")
        statement = select(*kind, *numbers, one, last).group_by(*kind).order_by(last.desc())
        async with self.sessions(read_only=True) as session:
            return (await session.execute(statement.limit(limit))).all()

    async def count(self, state: TaskState, name: str | None) -> int:
        """Count the tasks in a state, perhaps of one name, up to `COUNTED`."""
        some = select(tasks.c.id).where(*chosen(state, name)).limit(self.COUNTED).subquery()
        async with self.sessions(read_only=True) as session:
            return (await session.execute(select(func.count()).select_from(some))).scalar_one()

    async def time(self) -> float:
        """Return the time of the clock by which tasks are due, in seconds since the epoch."""
        async with self.sessions(read_only=True) as session:
            return (await session.execute(select(now(session)))).scalar_one()

    async def _read(
        self, found: Subquery, *order: ColumnElement[Any], limit: int
    ) -> list[TaskRecord]:
        statement = select(found).order_by(*order).limit(limit)
        async with self.sessions(read_only=True) as session:
            return [to_record(row) for row in await session.execute(statement)]


def chosen(state: TaskState, name: str | None) -> list[ColumnElement[bool]]:
    """Say that a task is in a state, and perhaps of one name."""
    return [tasks.c.state == state, *([] if name is None else [tasks.c.name == name])]


def _position(before: str) -> tuple[float, str]:
    """Return when the last task of a page was created, and its id."""
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
    """Select the newest tasks of each state: one search of an index that has them in this order."""
    order = (tasks.c.created_at.desc(), tasks.c.id.desc())
    each = [
        select(*columns).where(tasks.c.state == state, *where).order_by(*order).limit(limit)
        for state in states
    ]
    return union_all(*(select(one.subquery()) for one in each)).subquery()


async def _states(session: AsyncSession) -> set[str]:
    """Return the states that this release knows, and the table's: a search of an index for each."""
    found = select(func.min(tasks.c.state).label("state")).cte(recursive=True)
    following = select(func.min(tasks.c.state)).where(tasks.c.state > found.c.state)
    every = found.union_all(select(following.scalar_subquery()).where(found.c.state.is_not(None)))
    rows = await session.execute(select(every.c.state).where(every.c.state.is_not(None)))
    return {*TaskState, *rows.scalars()}


async def _count(session: AsyncSession, at_most: int) -> dict[tuple[str, str], int]:
    """Count the newest tasks of each state, by name and state."""
    name, state = _newest([tasks.c.name, tasks.c.state], await _states(session), [], at_most).c
    rows = await session.execute(select(name, state, func.count()).group_by(name, state))
    return {(name, state): number for name, state, number in rows}


async def _seconds_overdue(session: AsyncSession) -> float:
    """Return for how many seconds the oldest task has been due that nobody runs; 0 if none is."""
    clock = now(session)
    oldest = select(func.min(tasks.c.due_at)).where(tasks.c.due_at <= clock)
    # It may have been announced to workers, which is a lease, too, but of nobody who runs it.
    queued = oldest.where(tasks.c.state == TaskState.QUEUED)
    running = oldest.where(tasks.c.state == TaskState.RUNNING, tasks.c.lease_until < clock)
    statement = select(clock, queued.scalar_subquery(), running.scalar_subquery())
    time, *due = (await session.execute(statement)).one()
    return max((time - due_at for due_at in due if due_at is not None), default=0.0)


def to_record(row: Row[Any]) -> TaskRecord:
    """Return what a row says, whatever release has written it."""
    values = {name: getattr(row, name) for name in _FIELDS}
    values["state"] = _STATES.get(row.state, row.state)
    values["progress"] = None if row.progress is None else _progress(row.progress)
    return TaskRecord(**values)


def _progress(text: str) -> Progress | None:
    """Read what `renew` has written; None if it is what another release writes."""
    try:
        return _PROGRESS.validate_json(text)
    except ValueError:
        return None
