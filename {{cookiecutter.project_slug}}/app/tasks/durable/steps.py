"""Steps: parts of a durable task whose results commit with what they wrote, and that run once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar, get_type_hints
from weakref import WeakKeyDictionary

from pydantic import TypeAdapter
from sqlalchemy import Select, and_, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..arguments import annotated_function, one_line
from ..context import current_task
from ..errors import ArgumentError
from ..job import Job
from ..retry import Snooze
from .dialect import dialect_of, insert_into
from .reader import Sessions
from .table import STEP_NAME_LENGTH, steps, tasks

P = ParamSpec("P")
R = TypeVar("R")

step_sessions: ContextVar[Sessions] = ContextVar("step_sessions")
"""Opens the sessions of steps; the runner provides it."""
step_session: ContextVar[AsyncSession | None] = ContextVar("step_session", default=None)
"""The session of the step that runs: whatever it writes belongs into this."""
_names_taken: WeakKeyDictionary[asyncio.Task[None], set[str]] = WeakKeyDictionary()  # by runs


async def step(
    name: str, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Call `func` once over all runs of the durable task that is running; return its result.

    Sessions that `func` opens by `task_session()` are one transaction, and the result is part of
    it. A later run of the task gets that result, as it comes out of JSON, and calls nothing. `name`
    is unique in the task, and has 200 characters at most. Raises ArgumentError if the result would
    not survive JSON, RuntimeError where there can be no such step, and what `func` raises.
    """
    job = _begin(name)
    hints = get_type_hints(annotated_function(func))
    results: TypeAdapter[R] = TypeAdapter(hints.get("return", Any))

    async def call() -> str:
        result = await func(*args, **kwargs)
        try:
            text = results.dump_json(result, warnings="error").decode()
            results.validate_json(text)  # as a later run does
        except ValueError as error:
            msg = f"step {name!r}: its result must survive JSON: {one_line(str(error))}"
            raise ArgumentError(msg) from error
        return text

    # Without a recorder, in a test, there is no table.
    return results.validate_json(await (_once(job, name, call) if job.recorder else call()))


def _begin(name: str) -> Job:
    """Return the job that runs, which has this step now; RuntimeError if it may not."""
    job = current_task()
    if not isinstance(job, Job) or not job.task.durable or job.asyncio_task is None:
        problem = "only a durable task has steps, while it runs"
    elif step_session.get() is not None:
        problem = "it is in a step, and all of that is one transaction; call the function itself"
    elif len(name) > STEP_NAME_LENGTH:  # before it has an effect elsewhere, which it would repeat
        problem = f"its name has more than {STEP_NAME_LENGTH} characters"
    elif name in (taken := _names_taken.setdefault(job.asyncio_task, set())):
        problem = "the task has taken a step of this name; number those of a loop"
    else:
        taken.add(name)
        return job
    msg = f"step {name!r}: {problem}"
    raise RuntimeError(msg)


async def _once(job: Job, name: str, call: Callable[[], Awaitable[str]]) -> str:
    """Return the result that a run of the task has kept, or call for it and keep it."""
    # Nothing is of this run if the row of the task is gone, or its key has begun it anew.
    of_run = and_(tasks.c.id == job.id, tasks.c.created_at == job.created_at)
    kept: Select[str] = select(steps.c.result).join(tasks).where(of_run, steps.c.name == name)
    async with step_sessions.get()(read_only=True) as session:
        if (text := await session.scalar(kept)) is not None:
            return text
    # Nothing is locked before `call` writes: it may wait for others, outside of the database.
    async with step_sessions.get()() as session:
        token = step_session.set(session)
        try:
            text = await call()
        finally:
            step_session.reset(token)
        values = select(tasks.c.id, literal(name), literal(text)).where(of_run)
        row = insert_into(steps, dialect_of(session)).from_select(steps.c.keys(), values)
        row = row.on_conflict_do_nothing().returning(steps.c.result)
        if (await session.execute(row)).first() is None:
            if (text := await session.scalar(kept)) is None:
                raise Snooze(0)  # the row is not of this run any more: nothing is written of it
            await session.rollback()  # another run, side by side with this, was quicker
    return text
