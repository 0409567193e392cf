"""Which tasks of the table are due and free, and in what order they go."""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, Select, and_, bindparam, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from ..info import TaskState
from .dialect import dialect_of, elements, now
from .table import tasks

OPEN = (TaskState.QUEUED, TaskState.RUNNING)
"""The states of tasks that have not ended."""
IS_OPEN = (tasks.c.state + "").in_(OPEN)
"""Of tasks that are found otherwise: the empty text keeps the index of the states out of this."""
_LIMIT = bindparam("limit", type_=Integer)


def due(clock: ColumnElement[float]) -> ColumnElement[bool]:
    """Say that a task could run, and that nobody has a lease for it: a search of an index."""
    return and_(tasks.c.finished_at.is_(None), still_due(clock))


@lru_cache
def still_due(clock: ColumnElement[float]) -> ColumnElement[bool]:
    """Say the same of tasks that are found by their ids, and of no index."""
    return and_(IS_OPEN, tasks.c.lease_until < clock, tasks.c.due_at <= clock)


def due_from(time: ColumnElement[float]) -> dict[str, Any]:
    """Return the values by which a task is due from another time on."""
    return {"due_at": time, "position": tasks.c.position - tasks.c.due_at + time}


async def find_due(
    session: AsyncSession,
    names: Collection[str],
    limit: int,
    *,
    besides: Collection[str] = (),
    full: Collection[str] = (),
) -> list[Row[str, str, str]]:
    """Return id, name and limit group of the first tasks that are due, the most urgent first.

    They are of some names, have no id in `besides`, and are of no limit group in `full`. Nothing is
    locked: another process may find the same.
    """
    if not names:
        return []
    values: dict[str, Any] = {f"name_{n}": name for n, name in enumerate(names)}
    values |= {"limit": limit, "id": [*besides], "limit_group": [*full]}
    left_out = tuple(column for column in ("id", "limit_group") if values[column])
    statement = _first_due(now(session), dialect_of(session), len(names), left_out)
    return list((await session.execute(statement, values)).all())


@lru_cache  # to build it takes ten times as long as to execute it
def _first_due(
    clock: ColumnElement[float], dialect: str, names: int, left_out: tuple[str, ...]
) -> Select[str, str, str]:
    """Select the first of each name, then the first of these.

    Each name is one search of the index, so that it does not matter how many tasks of other names
    wait before those that may start. Whatever is in the parameter of a column in `left_out` is not
    selected. An empty list has no part in it: a planner guesses that it leaves out half of all.
    """
    columns = (tasks.c.id, tasks.c.name, tasks.c.limit_group, tasks.c.position)
    others = [tasks.c[column].not_in(elements(dialect, column)) for column in left_out]
    each = [
        select(*columns)
        .where(tasks.c.name == bindparam(f"name_{n}"), due(clock), *others)
        .order_by(tasks.c.finished_at, tasks.c.position)  # as in the index
        .limit(_LIMIT)
        for n in range(names)
    ]
    first = union_all(*(select(one.subquery()) for one in each)).subquery()
    in_order = select(first.c.id, first.c.name, first.c.limit_group).order_by(first.c.position)
    return in_order.limit(_LIMIT)
