"""`enqueue`: a durable task from code in which no engine runs."""

from collections.abc import Callable
from typing import Any, ParamSpec

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from ..options import NO_OPTIONS
from ..settings import TaskSettings
from ..task import Task
from .outbox import outbox_of
from .row import new_row

P = ParamSpec("P")


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
    row = new_row(func, func.check_arguments(args, kwargs), NO_OPTIONS, {}, TaskSettings().aging)
    outbox_of(sync_session).add(row, _nothing, _nothing)
    task_id: str = row["id"]
    return task_id


def _nothing() -> None:
    return None
