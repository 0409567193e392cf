"""Which tasks of the table are due and free, and in what order they go."""

import math
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, select

from ..info import TaskState
from .table import tasks

OPEN = (TaskState.QUEUED, TaskState.RUNNING)
"""The states of tasks that have not ended."""
_STRICT_AGING = 1e10
"""Seconds that a step of priority is worth if no age ever makes up for it: 300 years."""


def seconds_a_step(aging: float) -> float:
    """Return what one step of priority is worth in the table, in seconds."""
    return _STRICT_AGING if math.isinf(aging) else aging


def due(clock: ColumnElement[float]) -> ColumnElement[bool]:
    """Say that a task could run, and that nobody has a lease for it."""
    return and_(
        tasks.c.finished_at.is_(None),
        # The empty text keeps the index of the states out of this: that of the order sorts nothing.
        (tasks.c.state + "").in_(OPEN),
        tasks.c.lease_until < clock,
        tasks.c.due_at <= clock,
    )


def due_from(time: ColumnElement[float]) -> dict[str, Any]:
    """Return the values by which a task is due from another time on."""
    return {"due_at": time, "position": tasks.c.position - tasks.c.due_at + time}


def first_due(clock: ColumnElement[float]) -> Select[tuple[str, str, str]]:
    """Select id, name and limit group of the first tasks that are due, the most urgent first.

    Its parameters: `limit` is how many, `names` of which tasks, `besides` the ids to leave out.
    """
    return (
        select(tasks.c.id, tasks.c.name, tasks.c.limit_group)
        .where(
            due(clock),
            tasks.c.name.in_(bindparam("names", expanding=True)),
            tasks.c.id.not_in(bindparam("besides", expanding=True)),
        )
        .order_by(tasks.c.finished_at, tasks.c.position)  # as in the index
        .limit(bindparam("limit", type_=Integer))
    )
