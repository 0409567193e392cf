"""A small application: tasks that report their runs to the journal, and runners for them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text

from app.db import Database, DatabaseSettings, Pool, current_database, task_session
from app.logs import LOG_CONTEXT
from app.tasks import (
    FailedTask,
    Priority,
    Retry,
    Task,
    TaskInfo,
    TaskObserver,
    TaskRunner,
    TaskSettings,
    current_runner,
    current_task,
    task,
)
from app.tasks.celery import CeleryRunner, CelerySettings

from .journal import tell, tell_async

INSERT = text(
    "INSERT INTO shipped (task_id, n) VALUES (:task_id, :n) ON CONFLICT (task_id) DO NOTHING"
)


def this_task() -> TaskInfo:
    info = current_task()
    assert info is not None
    return info


async def ran(**values: Any) -> None:
    info = this_task()
    await tell_async(
        "ran", id=info.id, name=info.name, attempt=info.attempt, priority=info.priority, **values
    )


@task(name="note")
async def note(label: str = "") -> None:
    context = structlog.contextvars.get_contextvars()
    await ran(label=label, request_id=context.get("request_id"))


@task(name="note_sync")
def note_sync(label: str) -> None:
    info = this_task()
    tell("ran", id=info.id, name=info.name, attempt=info.attempt, label=label)


@task(name="typed")
async def typed(number: UUID, when: datetime, *rest: int, tags: list[str] | None = None) -> None:
    kinds = [type(number).__name__, type(when).__name__]
    await ran(values=[str(number), when.isoformat(), list(rest), tags], kinds=kinds)


@task(name="hold")
async def hold(label: str = "") -> None:
    await ran(label=label, hold=True)
    await tell_async("left", id=this_task().id, label=label)


@task(name="hold_sync")
def hold_sync() -> None:
    tell("ran", id=this_task().id, name="hold_sync", hold=True)


@task(name="urgent", priority=Priority.URGENT)
async def urgent() -> None:
    await ran()


@task(name="flaky", retry=Retry(attempts=3, delay=0.02, on=(OSError,)))
async def flaky(failures: int) -> None:
    await ran()
    if this_task().attempt <= failures:
        raise OSError("not yet")


async def _report(failed: FailedTask) -> None:
    values = {"task": failed.id, "state": failed.state, "arguments": failed.arguments}
    await tell_async("failure reported", **values)


report_failure = task(name="report_failure")(_report)
report_failure_durable = task(name="report_failure_durable", durable=True)(_report)


@task(name="hopeless", on_failure=report_failure)
async def hopeless(n: int) -> None:
    raise OSError(n)


@task(name="hopeless_durable", durable=True, on_failure=report_failure_durable)
async def hopeless_durable(n: int) -> None:
    raise OSError(n)


@task(name="broken")
async def broken() -> None:
    await ran()
    raise ValueError("password=secret and more")


@task(name="broken_sync", retry=Retry(attempts=2, delay=0))
def broken_sync() -> None:
    tell("ran", id=this_task().id, name="broken_sync", attempt=this_task().attempt)
    raise KeyError("sync")


@task(name="slow", timeout=0.1)
async def slow() -> None:
    await ran()
    await asyncio.get_running_loop().create_future()


@task(name="parent")
async def parent(label: str) -> None:
    child = current_runner().submit(note, label, priority=Priority.HIGH)
    await ran(child=child, runner=type(current_runner()).__name__)


@task(name="limited", max_concurrency=1)
async def limited() -> None:
    await tell_async("began", id=this_task().id)
    await tell_async("ended", id=this_task().id)


@task(name="rated", rate_limit="2/second")
async def rated() -> None:
    await ran()


@task(name="rated_durable", durable=True, rate_limit="4/minute")
async def rated_durable() -> None:
    await ran()


async def ship_row(n: int) -> None:
    async with task_session() as session:
        # A second run of the same task changes nothing, because it has the same id.
        await session.execute(INSERT, {"task_id": this_task().id, "n": n})


@task(name="ship")
async def ship(n: int) -> None:
    await tell_async("began", n=n)
    await ship_row(n)
    await tell_async("shipped", n=n)


@task(name="ship_durable", durable=True)
async def ship_durable(n: int) -> None:
    await tell_async("began", n=n)
    await ship_row(n)
    await tell_async("shipped", n=n)


@task(name="hold_durable", durable=True)
async def hold_durable() -> None:
    await ran(hold=True)


@task(name="flaky_durable", durable=True, retry=Retry(attempts=3, delay=0))
async def flaky_durable(failures: int) -> None:
    await ran()
    if this_task().attempt <= failures:
        raise OSError("not yet")


@task(name="poison")
async def poison() -> None:
    await ran()
    os.kill(os.getpid(), signal.SIGKILL)


@task(name="unlisted")
async def unlisted() -> None:
    raise AssertionError


TASKS: list[Task[..., Any]] = [
    note, note_sync, typed, hold, hold_sync, urgent, flaky, broken, broken_sync, slow, parent,
    limited, rated, rated_durable, report_failure, report_failure_durable, hopeless,
    hopeless_durable, ship, ship_durable, hold_durable, flaky_durable, poison,
]  # fmt: skip


class JournalObserver(TaskObserver):
    """Reports retries and ends of tasks to the journal."""

    def retried(self, info: TaskInfo) -> None:
        self._tell("retried", info)

    def succeeded(self, info: TaskInfo) -> None:
        self._tell("succeeded", info)

    def failed(self, info: TaskInfo) -> None:
        self._tell("failed", info)

    def timed_out(self, info: TaskInfo) -> None:
        self._tell("timed_out", info)

    def cancelled(self, info: TaskInfo) -> None:
        self._tell("cancelled", info)

    def _tell(self, event: str, info: TaskInfo) -> None:
        error = "" if info.error is None else repr(info.error)
        tell(event, id=info.id, name=info.name, attempt=info.attempt, error=error)


@asynccontextmanager
async def open_runner(
    settings: TaskSettings,
    celery_settings: CelerySettings | None,
    observers: tuple[TaskObserver, ...] = (JournalObserver(),),
    url: str = "",
    tasks: Sequence[Task[..., Any]] = TASKS,
) -> AsyncIterator[TaskRunner]:
    """Open the runner of one process; without `celery_settings` it runs tasks in process."""
    database_settings = DatabaseSettings(url=url) if url else DatabaseSettings()
    async with Database(database_settings) as database:
        current_database.set(database)
        common: dict[str, Any] = {
            "tasks": tasks,
            "sessions": partial(database.session, Pool.TASK_STORE),
            "propagator": LOG_CONTEXT,
        }
        runner = (
            TaskRunner(settings, observers, **common)
            if celery_settings is None
            else CeleryRunner(settings, observers, celery_settings=celery_settings, **common)
        )
        async with runner:
            yield runner


@asynccontextmanager
async def publishing(broker: str, database: str, **values: Any) -> AsyncIterator[CeleryRunner]:
    """Open the runner of a process that only publishes tasks."""
    settings = TaskSettings(**{"drain_timeout": 5, "sweep_interval": 0.1, "lease": 1, **values})
    celery_settings = CelerySettings.model_validate({"broker_url": broker})
    async with open_runner(settings, celery_settings, url=database) as runner:
        assert isinstance(runner, CeleryRunner)
        yield runner
