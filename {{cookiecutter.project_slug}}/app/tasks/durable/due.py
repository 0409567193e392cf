"""Which tasks of the table are due and free, and in what order they are claimed."""

import math
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
"""For tasks that another condition finds: the empty text avoids the index by state."""
_LIMIT = bindparam("limit", type_=Integer)


def due(clock: ColumnElement[float]) -> ColumnElement[bool]:
    """Return the condition that a task is due and nobody has a lease for it: an index search."""
    return and_(tasks.c.finished_at.is_(None), still_due(clock))


@lru_cache
def still_due(clock: ColumnElement[float]) -> ColumnElement[bool]:
    """Return the condition of `due` for tasks that are found by their ids: it uses no index."""
    return and_(IS_OPEN, tasks.c.lease_until < clock, tasks.c.due_at <= clock)


def due_from(time: ColumnElement[float]) -> dict[str, Any]:
    """Return the column values that make a task due at another time."""
    return {"due_at": time, "position": tasks.c.position - tasks.c.due_at + time}


async def find_due(
    session: AsyncSession,
    names: Collection[str],
    limit: int,
    first: float = -math.inf,
    *,
    exclude: Collection[str] = (),
    full: Collection[str] = (),
) -> list[Row[str, str, str, float]]:
    """Return id, name, limit group and position of the first due tasks of `names`, in their order.

    Leaves out positions before `first`, the ids in `exclude` and the limit groups in `full`.
    Nothing is locked: another process may find the same tasks.
    """
    if not names:
        return []
    values: dict[str, Any] = {f"name_{n}": name for n, name in enumerate(names)}
    values |= {"limit": limit, "first": first, "id": [*exclude], "limit_group": [*full]}
    excluded = tuple(column for column in ("id", "limit_group") if values[column])
    statement = _first_due(now(session), dialect_of(session), len(names), excluded)
    return list((await session.execute(statement, values)).all())


@lru_cache  # building the statement takes ten times as long as executing it
def _first_due(
    clock: ColumnElement[float], dialect: str, names: int, excluded: tuple[str, ...]
) -> Select[str, str, str, float]:
    """Select the first tasks of each name, then the first of all these.

    Each name is one index search, so waiting tasks of other names cost nothing. Each column in
    `excluded` has a parameter with the values to leave out. Columns with no such values are not in
    the statement: a planner guesses that an empty list leaves out half of all rows.
    """
    columns = (tasks.c.id, tasks.c.name, tasks.c.limit_group, tasks.c.position)
    exclusions = [tasks.c[column].not_in(elements(dialect, column)) for column in excluded]
    by_name = [
        select(*columns)
        .where(tasks.c.name == bindparam(f"name_{n}"), due(clock), *exclusions)
        .where(tasks.c.position >= bindparam("first"))
        .order_by(tasks.c.finished_at, tasks.c.position)  # as in the index
        .limit(_LIMIT)
        for n in range(names)
    ]
    first = union_all(*(select(query.subquery()) for query in by_name)).subquery()
    return select(*first.c).order_by(first.c.position).limit(_LIMIT)
