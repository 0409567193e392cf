"""How a worker treats single messages."""

import asyncio
import math
from contextlib import asynccontextmanager, suppress
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Ignore, Reject

from app.db import task_session
from app.tasks import TaskSettings
from app.tasks.celery import CeleryRunner, CelerySettings, make_celery
from app.tasks.celery.execution import TaskFailed
from app.tasks.celery.message import Message
from app.tasks.celery.worker import Worker
from app.tasks.options import NO_OPTIONS
from tests.databases.server import run

from .application import (
    TASKS,
    flaky_durable,
    hold,
    hold_durable,
    hopeless_durable,
    note,
    open_runner,
    publishing,
    ship_durable,
)
from .journal import SECONDS, Journal

SETTINGS = TaskSettings(drain_timeout=1)


def make_worker(database: str, problem: Exception | None = None) -> tuple[Any, Worker]:
    celery_settings = CelerySettings.model_validate(
        {"broker_url": "memory://", "queue": "one-message"}
    )
    celery = make_celery(celery_settings, SETTINGS, TASKS)

    @asynccontextmanager
    async def open_this() -> Any:
        if problem is not None:
            raise problem
        async with open_runner(SETTINGS, celery_settings, url=database) as runner:
            yield runner

    return celery, Worker(celery, TASKS, open_this, SETTINGS.drain_timeout)


def waiting(celery: Any) -> list[dict[str, Any]]:
    """Remove all messages from the queue and return their payloads."""
    payloads = []
    with celery.connection_for_read() as connection:
        queue = connection.SimpleQueue("one-message")
        while queue.qsize():
            message = queue.get(timeout=5)
            payloads.append(message.payload[0][0])
            message.ack()
        queue.close()
    return payloads


def receive_to_replace(worker: Worker, **values: Any) -> None:
    """Let the worker receive a message in whose place it sends another: no success for Celery."""
    with pytest.raises(Ignore):
        receive(worker, **values)


def receive(
    worker: Worker, *, eta: str | None = None, redelivered: bool = False, **values: Any
) -> None:
    """Let the worker run a message as Celery does; with `eta` it was held until that time."""
    delivery = SimpleNamespace(delivery_info={"redelivered": redelivered}, eta=eta)
    payload = {"id": "1", "name": note.name, "priority": 5, "a newer field": True, **values}
    worker._receive(SimpleNamespace(name=note.name, request=delivery), payload)  # type: ignore[arg-type]


def test_a_worker_that_cannot_open_its_resources_exits(database_url: str) -> None:
    _, worker = make_worker(database_url, OSError("no database"))
    with pytest.raises(SystemExit):
        worker._on_worker_init(SimpleNamespace(pool_cls="threads"))


def test_a_worker_can_be_stopped_while_it_starts() -> None:
    closed = Event()

    @asynccontextmanager
    async def open_and_stop() -> Any:
        worker.stop()
        yield
        closed.set()

    settings = CelerySettings.model_validate({"broker_url": "memory://"})
    worker = Worker(make_celery(settings, SETTINGS, TASKS), TASKS, open_and_stop, 1)
    worker.start()
    assert closed.wait(SECONDS)
    worker.wait_until_stopped()


def test_a_message_of_a_lost_worker_is_resent_with_its_attempt_counted(
    database_url: str, journal: Journal
) -> None:
    celery, worker = make_worker(database_url)
    receive_to_replace(worker, redelivered=True)
    (sent,) = waiting(celery)
    assert (sent["id"], sent["attempts"]) == ("1", 1)
    assert journal.entries("ran") == []


def test_a_message_received_after_the_shutdown_is_requeued(
    database_url: str, journal: Journal
) -> None:
    celery, worker = make_worker(database_url)
    worker._on_worker_init(SimpleNamespace(pool_cls="threads"))
    receive(worker)
    assert len(journal.wait_for("ran")) == 1
    worker._on_end()
    receive_to_replace(worker)
    (sent,) = waiting(celery)
    assert (sent["id"], "attempts" in sent) == ("1", False)
    assert len(journal.entries("ran")) == 1


def test_losing_a_worker_that_holds_a_delayed_message_is_no_attempt(database_url: str) -> None:
    celery, worker = make_worker(database_url)
    receive_to_replace(worker, eta="2026-01-01T00:00:00+00:00", redelivered=True)
    (sent,) = waiting(celery)  # resent as a message that is due: from now on a loss counts
    assert (sent["id"], "attempts" in sent) == ("1", False)


@pytest.mark.parametrize(
    "values",
    [
        {"priority": "urgent"},
        {"id": None},
        {"arguments": "password=secret"},
        {"arguments": "[1]"},
        {"context": "[" * 5000 + "]" * 5000},
        {"retry": {"attempts": 0}},
        {"due_at": math.nan},
        {"name": "another"},
    ],
)
def test_an_unreadable_message_is_a_dead_letter(
    values: dict[str, Any], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    celery, worker = make_worker(database_url)
    with pytest.raises(Reject) as rejected:
        receive(worker, **values)
    assert rejected.value.args == ("unreadable", False)  # False: it is not requeued
    assert waiting(celery) == []
    (line,) = [r.getMessage() for r in caplog.records if "cannot be read" in r.getMessage()]
    assert "a newer field" in line
    assert "secret" not in line


@pytest.mark.parametrize("durable", [False, True])
async def test_a_message_redelivered_while_its_task_runs_starts_no_second_run(
    durable: bool, database_url: str, journal: Journal
) -> None:
    async with publishing("memory://", database_url, lease=60) as runner:
        message = await durable_message(runner, hold_durable) if durable else message_of_call()

        async def deliver() -> None:
            while not journal.entries("ran"):  # the announcer may hold the row at that time
                with suppress(Ignore):
                    await runner.execute(message)

        first = asyncio.create_task(deliver())
        await journal.until("ran")
        await asyncio.to_thread(run, database_url, "UPDATE background_tasks SET lease_until = 0")
        second = asyncio.create_task(runner.execute(message))
        await asyncio.wait((second,), timeout=20 if durable else 0)
        journal.open_gate()
        await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(second.exception(), Ignore) is durable
        await runner.join(20)
    assert len(journal.entries("ran")) == len(journal.entries("succeeded")) == 1


@pytest.mark.parametrize(
    ("func", "event", "outcome"),
    [
        (ship_durable, "succeeded", None),
        (hopeless_durable, "failed", TaskFailed),
        (flaky_durable, "retried", Ignore),
    ],
)
async def test_celery_sees_whether_a_durable_task_has_ended_and_how(
    func: Any, event: str, outcome: type[Exception] | None, shipping: str, journal: Journal
) -> None:
    """Flower keeps the first success of a task, even if the task then fails."""
    ended: Any = None
    async with publishing("memory://", shipping, lease=60) as runner:
        message = await durable_message(runner, func, 1)
        while not journal.entries(event):  # the announcer may hold the row at that time
            (ended,) = await asyncio.gather(runner.execute(message), return_exceptions=True)
    assert ended is None if outcome is None else isinstance(ended, outcome)


def message_of_call() -> Message:
    return Message.of_call(hold, (("x",), {}), NO_OPTIONS, {})


async def durable_message(runner: CeleryRunner, func: Any, *args: Any) -> Message:
    async with task_session():
        task_id = runner.submit(func, *args)
    return Message(id=task_id, name=func.name, priority=5, durable=True)
