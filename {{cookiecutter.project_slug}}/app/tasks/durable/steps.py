"""Steps: parts of a durable task whose results commit with what they wrote, and that run once."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar, get_type_hints

from pydantic import TypeAdapter
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ..context import current_task
from ..errors import ArgumentError
from ..job import Job
from .store import Sessions
from .table import steps

P = ParamSpec("P")
R = TypeVar("R")

step_sessions: ContextVar[Sessions] = ContextVar("step_sessions")
"""Opens the sessions of steps; the runner provides it."""
step_session: ContextVar[AsyncSession | None] = ContextVar("step_session", default=None)
"""The session of the step that runs: whatever it writes belongs into this."""
_taken: ContextVar[set[str]] = ContextVar("steps_taken")


async def step(
    name: str, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Call `func` once over all runs of the durable task that is running; return its result.

    Sessions that `func` opens by `task_session()` are one transaction, and the result is part of
    it. A later run of the task gets that result, as it comes out of JSON, and calls nothing. `name`
    is unique in the task. Raises ArgumentError if the result would not survive JSON, RuntimeError
    outside a durable task and for a name that was used before, and what `func` raises.
    """
    job = current_task()
    if not isinstance(job, Job) or not job.task.durable:
        msg = f"step {name!r}: only a durable task has steps"
        raise RuntimeError(msg)
    _take(name)
    if job.recorder is None:  # a runner without a table, in a test
        return await func(*args, **kwargs)
    results: TypeAdapter[R] = TypeAdapter(get_type_hints(func).get("return", Any))
    stored = await _read(job.id, name)
    if stored is None:
        try:
            return await _run(job.id, name, results, lambda: func(*args, **kwargs))
        except _TakenElsewhere:
            stored = await _read(job.id, name) or ""
    return results.validate_json(stored)


class _TakenElsewhere(Exception):  # noqa: N818 - its only use is to roll back
    """Another run of the task, side by side with this, has committed the step first."""


async def _run(
    task_id: str, name: str, results: TypeAdapter[R], call: Callable[[], Awaitable[R]]
) -> R:
    # Nothing is locked before `call` writes: it may wait for others, outside of the database.
    async with step_sessions.get()() as session:
        token = step_session.set(session)
        try:
            result = await call()
        finally:
            step_session.reset(token)
        text = _to_json(name, results, result)
        await session.flush()  # so that an error of this is not taken for one of the row below
        row = insert(steps).values(task_id=task_id, name=name, result=text)
        try:
            await session.execute(row)
        except IntegrityError as error:
            raise _TakenElsewhere from error
    return results.validate_json(text)


async def _read(task_id: str, name: str) -> str | None:
    stored = select(steps.c.result).where(steps.c.task_id == task_id, steps.c.name == name)
    async with step_sessions.get()(read_only=True) as session:
        return (await session.execute(stored)).scalar_one_or_none()


def _to_json(name: str, results: TypeAdapter[R], result: R) -> str:
    try:
        return results.dump_json(result, warnings="error").decode()
    except ValueError as error:
        msg = f"step {name!r}: its result must survive JSON: {str(error).splitlines()[0]}"
        raise ArgumentError(msg) from error


def _take(name: str) -> None:
    taken = _taken.get(None)
    if taken is None:  # each run has a context of its own
        _taken.set(taken := set())
    if name in taken:
        msg = f"step {name!r}: the task has taken a step of this name; number those of a loop"
        raise RuntimeError(msg)
    taken.add(name)
