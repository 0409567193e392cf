"""Steps: parts of a durable task whose results commit with what they wrote, and that run once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar, get_type_hints
from weakref import WeakKeyDictionary

from pydantic import TypeAdapter
from sqlalchemy import insert, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ..arguments import annotated_function, one_line
from ..context import current_task
from ..errors import ArgumentError
from ..job import Job
from .reader import Sessions
from .table import steps, tasks

P = ParamSpec("P")
R = TypeVar("R")

step_sessions: ContextVar[Sessions] = ContextVar("step_sessions")
"""Opens the sessions of steps; the runner provides it."""
step_session: ContextVar[AsyncSession | None] = ContextVar("step_session", default=None)
"""The session of the step that runs: whatever it writes belongs into this."""
_MAX_NAME = 200
_taken: WeakKeyDictionary[asyncio.Task[None], set[str]] = WeakKeyDictionary()
"""The names that a run has used, in whichever of its asyncio tasks."""


async def step(
    name: str, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Call `func` once over all runs of the durable task that is running; return its result.

    Sessions that `func` opens by `task_session()` are one transaction, and the result is part of
    it. A later run of the task gets that result, as it comes out of JSON, and calls nothing. `name`
    is unique in the task, and has 200 characters at most. Raises ArgumentError if the result would
    not survive JSON, RuntimeError outside a durable task, in another step and for a name that the
    run has used, and what `func` raises.
    """
    job = current_task()
    if not isinstance(job, Job) or not job.task.durable or job.asyncio_task is None:
        msg = f"step {name!r}: only a durable task has steps, while it runs"
        raise RuntimeError(msg)
    _take(job.asyncio_task, name)
    hints = get_type_hints(annotated_function(func))
    results: TypeAdapter[R] = TypeAdapter(hints.get("return", Any))
    if job.recorder is None:  # a runner without a table, in a test
        return _through_json(name, results, await func(*args, **kwargs))[1]
    stored = await _read(job.id, name)
    if stored is None:
        try:
            return await _run(job, name, results, lambda: func(*args, **kwargs))
        except _TakenElsewhere:
            stored = await _read(job.id, name) or ""
    return results.validate_json(stored)


class _TakenElsewhere(Exception):  # noqa: N818 - its only use is to roll back
    """Another run of the task, side by side with this, has committed the step first."""


async def _run(job: Job, name: str, results: TypeAdapter[R], call: Callable[[], Awaitable[R]]) -> R:
    # Nothing is locked before `call` writes: it may wait for others, outside of the database.
    async with step_sessions.get()() as session:
        token = step_session.set(session)
        try:
            result = await call()
        finally:
            step_session.reset(token)
        text, restored = _through_json(name, results, result)
        await session.flush()  # so that an error of this is not taken for one of the row below
        try:
            await _write(session, job, name, text)
        except IntegrityError as error:
            raise _TakenElsewhere from error
    return restored


async def _write(session: AsyncSession, job: Job, name: str, text: str) -> None:
    """Keep a result, unless the row of the task is gone, or its key has begun it anew."""
    of_this_run = tasks.c.id == job.id, tasks.c.created_at == job.created_at
    values = select(tasks.c.id, literal(name), literal(text)).where(*of_this_run)
    row = insert(steps).from_select(["task_id", "name", "result"], values)
    if (await session.execute(row.returning(steps.c.name))).first() is None:
        msg = f"step {name!r}: the task has ended meanwhile, and its row is another's"
        raise RuntimeError(msg)


async def _read(task_id: str, name: str) -> str | None:
    stored = select(steps.c.result).where(steps.c.task_id == task_id, steps.c.name == name)
    async with step_sessions.get()(read_only=True) as session:
        return (await session.execute(stored)).scalar_one_or_none()


def _through_json(name: str, results: TypeAdapter[R], result: R) -> tuple[str, R]:
    try:
        text = results.dump_json(result, warnings="error").decode()
        return text, results.validate_json(text)
    except ValueError as error:
        msg = f"step {name!r}: its result must survive JSON: {one_line(str(error))}"
        raise ArgumentError(msg) from error


def _take(run: asyncio.Task[None], name: str) -> None:
    taken = _taken.setdefault(run, set())
    problem = ""
    if step_session.get() is not None:
        problem = "it is in a step, and all of that is one transaction; call the function itself"
    elif len(name) > _MAX_NAME or not name.isprintable():
        # Before the step has an effect elsewhere, which it would have again.
        problem = f"its name needs up to {_MAX_NAME} characters, all of which can be printed"
    elif name in taken:
        problem = "the task has taken a step of this name; number those of a loop"
    if problem:
        msg = f"step {name!r}: {problem}"
        raise RuntimeError(msg)
    taken.add(name)
