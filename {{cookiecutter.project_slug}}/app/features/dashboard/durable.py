"""The tasks in the table, of all processes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.tasks import TaskRecord, TaskState, TaskStore

from .text import ago, cut

logger = structlog.get_logger(__name__)

_SHOWN = 10
_DATABASE_TIMEOUT = 2.0
_RETRYABLE = (TaskState.FAILED, TaskState.TIMED_OUT, TaskState.CANCELLED, TaskState.DEAD)


@dataclass(frozen=True)
class DurableRow:
    """A task in the table."""

    id: str
    name: str
    state: str
    attempts: int
    ago: str
    error: str


@dataclass(frozen=True)
class Durable:
    """What is in the table; `problem` says why it cannot be told."""

    counts: Sequence[tuple[str, str]] = ()
    """States with the number of tasks in them."""
    unfinished: Sequence[DurableRow] = ()
    unsuccessful: Sequence[DurableRow] = ()
    """Those that can be started over."""
    problem: str = ""


async def read_durable(store: TaskStore) -> Durable:
    """Read the table. A database that fails must not take the rest of the page along."""
    try:
        async with asyncio.timeout(_DATABASE_TIMEOUT):
            counts = await store.counts()
            unfinished = await store.unfinished(_SHOWN)
            unsuccessful = await store.recent(_RETRYABLE, _SHOWN)
    except (SQLAlchemyError, TimeoutError):
        logger.warning("the task page could not read the table of durable tasks", exc_info=True)
        return Durable(problem="The database does not answer.")
    return Durable(
        counts=[(_words(state), f"{counts[state]:,}") for state in TaskState if state in counts],
        unfinished=[_row(record, record.created_at) for record in unfinished],
        unsuccessful=[_row(record, record.finished_at) for record in unsuccessful],
    )


def _row(record: TaskRecord, moment: float | None) -> DurableRow:
    return DurableRow(
        id=record.id,
        name=cut(record.name),
        state=_words(record.state),
        attempts=record.attempts,
        ago=ago(moment or record.created_at),
        error=record.error or "",
    )


def _words(state: TaskState) -> str:
    return state.value.replace("_", " ")
