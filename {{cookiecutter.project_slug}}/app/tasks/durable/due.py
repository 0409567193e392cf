"""Which tasks of the table are due and free, and in what order they go."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_, select, union_all

from ..info import TaskState
from ..priority import PRIORITIES
from .table import tasks

OPEN = (TaskState.QUEUED, TaskState.RUNNING)
"""The states of tasks that have not ended."""


def due(clock: ColumnElement[float]) -> ColumnElement[bool]:
    """Say that a task could run, and that nobody has a lease for it."""
    return and_(
        tasks.c.finished_at.is_(None),
        tasks.c.state.in_(OPEN),
        tasks.c.lease_until < clock,
        tasks.c.due_at <= clock,
    )


def first_due(
    clock: ColumnElement[float],
    room: Mapping[str, float],
    limit: int,
    aging: float,
    besides: Collection[str],
) -> Select[tuple[str]]:
    """Select the ids of up to `limit` tasks that are due, the most urgent first.

    `room` says how many of each name, `math.inf` for as many as there are. Those with an id in
    `besides` are left out.
    """
    free = and_(due(clock), tasks.c.id.not_in(besides))
    unlimited = [name for name, number in room.items() if math.isinf(number)]
    limited = [
        tasks.c.id.in_(_first(and_(free, tasks.c.name == name), int(number), aging))
        for name, number in room.items()
        if not math.isinf(number)
    ]
    return _first(and_(free, or_(tasks.c.name.in_(unlimited), *limited)), limit, aging)


def _first(condition: ColumnElement[bool], limit: int, aging: float) -> Select[tuple[str]]:
    """Select the first of all from the first of each priority, which an index has side by side.

    To sort all that is due would take the longer the more waits.
    """
    firsts = union_all(
        *(
            select(
                select(tasks.c.id, tasks.c.priority, tasks.c.due_at)
                .where(condition, tasks.c.priority == priority)
                .order_by(tasks.c.due_at)
                .limit(limit)
                .subquery()
            )
            for priority in PRIORITIES
        )
    ).subquery()
    ids = select(firsts.c.id).order_by(*_order(firsts.c, aging)).limit(limit)
    # The condition once more: it is what is looked at again after a wait for a lock.
    return select(tasks.c.id).where(tasks.c.id.in_(ids), condition)


def _order(columns: Any, aging: float) -> Sequence[ColumnElement[Any]]:
    if math.isinf(aging):
        return [columns.priority, columns.due_at]
    return [columns.due_at + columns.priority * aging]
