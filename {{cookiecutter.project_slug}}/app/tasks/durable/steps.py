"""Steps: parts of a durable task that run once, and whose results commit with what they wrote."""

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
"""The session of the running step: every session that the step opens is this one."""
_names_taken: WeakKeyDictionary[asyncio.Task[None], set[str]] = WeakKeyDictionary()  # by run


async def step(
    name: str, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Call `func` once over all runs of the running durable task; return its result.

    All sessions that `func` opens with `task_session()` are one transaction, which also stores the
    result. A later run of the task gets it as restored from JSON, without a call. `name` is unique
    in the task, with 200 characters at most. Raises ArgumentError if the result would not survive
    JSON, RuntimeError where this step is not possible, and whatever `func` raises.
    """
    job = _begin(name)
    hints = get_type_hints(annotated_function(func))
    results: TypeAdapter[R] = TypeAdapter(hints.get("return", Any))

    async def call() -> str:
        result = await func(*args, **kwargs)
        try:
            text = results.dump_json(result, warnings="error").decode()
            results.validate_json(text)  # as a later run will
        except ValueError as error:
            msg = f"step {name!r}: its result must survive JSON: {one_line(str(error))}"
            raise ArgumentError(msg) from error
        return text

    # In a test with an in-memory runner there is no recorder, and no table.
    return results.validate_json(await (_once(job, name, call) if job.recorder else call()))


def _begin(name: str) -> Job:
    """Check that a step may run here, and take its name; return the running job."""
    job = current_task()
    if not isinstance(job, Job) or not job.task.durable or job.asyncio_task is None:
        problem = "only a running durable task has steps"
    elif step_session.get() is not None:
        problem = "it is inside another step, which is one transaction; call the function itself"
    elif len(name) > STEP_NAME_LENGTH:  # checked before its effects, which a retry would repeat
        problem = f"its name has more than {STEP_NAME_LENGTH} characters"
    elif name in (taken := _names_taken.setdefault(job.asyncio_task, set())):
        problem = "this run already had a step of that name; in a loop, number the steps"
    else:
        taken.add(name)
        return job
    msg = f"step {name!r}: {problem}"
    raise RuntimeError(msg)


async def _once(job: Job, name: str, call: Callable[[], Awaitable[str]]) -> str:
    """Return the result that an earlier run has stored, or call for it and store it."""
    # No row matches if the task's row is gone, or was overwritten by a later task with its key.
    of_run = and_(tasks.c.id == job.id, tasks.c.created_at == job.created_at)
    stored: Select[str] = select(steps.c.result).join(tasks).where(of_run, steps.c.name == name)
    async with step_sessions.get()(read_only=True) as session:
        if (text := await session.scalar(stored)) is not None:
            return text
    # Nothing is locked before `call` writes, since it may first wait for another service.
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
            if (text := await session.scalar(stored)) is None:
                raise Snooze(0)  # the row no longer belongs to this run: nothing is committed
            await session.rollback()  # another run of the task, at the same time, was quicker
    return text
