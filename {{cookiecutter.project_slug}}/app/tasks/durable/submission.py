"""Submission of durable tasks: a call becomes a row of a session's transaction."""

from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..limits import Capacity
from ..options import NO_OPTIONS
from ..settings import TaskSettings
from ..task import Task
from .backlog import Backlog
from .outbox import Entry, add_to
from .row import new_row

P = ParamSpec("P")


class DurableSubmission:
    """A durable task that was submitted, and the capacity that is reserved until its commit.

    Its row is the truth. This only wakes what claims it, when both the transaction has committed
    and the submitter is done: in a request, when the response has been sent.
    """

    __slots__ = ("_backlog", "_capacity", "_delay", "_steps_left")

    def __init__(self, delay: float, backlog: Backlog, capacity: Capacity | None) -> None:
        self._delay = delay
        self._backlog = backlog
        self._capacity = capacity
        self._steps_left = 2

    def rolled_back(self) -> None:
        """Free the capacity."""
        if self._capacity is not None:
            self._capacity.release()

    def committed(self) -> None:
        """Count the row as waiting, and take one of the two steps."""
        self.rolled_back()
        self._backlog.expect(self._delay)
        self.enqueue()

    def enqueue(self) -> None:
        """Take the submitter's step."""
        self._steps_left -= 1
        if self._steps_left == 0:
            self._backlog.loop.wake()


def enqueue(
    session: AsyncSession | Session, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
) -> str:
    """Add a durable task to the transaction of a session; return the task's id.

    For scripts, migrations and other services. The task runs after the commit, when a service that
    knows its name next polls the table: within `TASKS_SWEEP_INTERVAL` seconds, or at once if the
    database wakes it. Raises TypeError if `func` is not a durable task, and ArgumentError as
    `TaskEngine.submit` does.
    """
    if not isinstance(func, Task) or not func.durable:
        msg = f"{func!r} is not a durable task: decorate it with @task(durable=True)"
        raise TypeError(msg)
    sync_session = session.sync_session if isinstance(session, AsyncSession) else session
    if not sync_session.in_transaction():
        sync_session.begin()  # or its rollback would not take the task away
    row = new_row(func, func.check_arguments(args, kwargs), NO_OPTIONS, {}, _aging())
    add_to(sync_session, Entry(row))
    task_id: str = row["id"]
    return task_id


@cache  # to read the settings takes ten times as long as the rest
def _aging() -> float:
    return TaskSettings().aging
