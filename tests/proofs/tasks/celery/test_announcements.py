"""Durable tasks on workers: the row is the truth, and a message only announces that it is due."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.db import task_session
from app.tasks import TaskSettings, task
from app.tasks.celery import CeleryRunner, CelerySettings, make_celery
from app.tasks.celery.message import Message
from tests.databases.server import run
from waiting import wait_until

from .application import hold_durable, open_runner, publishing, rated_durable, ship_durable
from .brokers import Valkey
from .journal import SECONDS, Journal
from .workers import WorkerProcess

ANNOUNCEMENTS = "tasks.due"
LEASE = 0.3
ROWS = 20
RATE = 4
"""How many times a minute `rated_durable` may start."""


def announcements(valkey: Valkey) -> int:
    with valkey.client() as client:
        return int(client.llen(f"{ANNOUNCEMENTS}\x06\x165"))


def column(database: str, name: str) -> list[Any]:
    return [row[0] for row in run(database, f"SELECT {name} FROM background_tasks ORDER BY id")]  # noqa: S608 - fixed names


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, condition)


async def submit(runner: CeleryRunner, func: Any, *args: Any) -> str:
    async with task_session():
        return runner.submit(func, *args)


async def every_row_is_announced_again(database: str) -> None:
    """Wait until the mark that a row was announced has been renewed on every row."""
    before = column(database, "lease_until")
    await until(
        lambda: all(b < n for b, n in zip(before, column(database, "lease_until"), strict=True))
    )


async def test_an_unclaimed_row_is_announced_ever_more_rarely(broker: str, shipping: str) -> None:
    again = 3
    async with publishing(broker, shipping, lease=LEASE) as runner:
        await announce_rows(runner)
        for _ in range(again):
            await every_row_is_announced_again(shipping)
        until_due = zip(column(shipping, "lease_until"), column(shipping, "due_at"), strict=True)
        assert all(until - due >= LEASE * 2 ** (again - 1) for until, due in until_due)
        assert column(shipping, "attempts") == [0] * ROWS


async def test_an_announced_row_that_no_worker_claims_is_overdue(
    valkey: Valkey, shipping: str
) -> None:
    async with publishing(valkey.url, shipping, lease=60) as runner:
        await submit(runner, ship_durable, 1)
        await until(lambda: announcements(valkey) == 1)
        earlier = "UPDATE background_tasks SET due_at = due_at - 100"
        await asyncio.to_thread(run, shipping, earlier)
        assert (await runner.store.statistics())[1] >= 100


@pytest.mark.parametrize("number", [ROWS // 2, ROWS])
async def test_rows_whose_announcements_the_broker_lost_are_announced_again(
    number: int, broker: str, shipping: str
) -> None:
    async with publishing(broker, shipping, lease=LEASE) as runner:
        await announce_rows(runner)
        lost = await asyncio.to_thread(take, broker, number)
        await every_row_is_announced_again(shipping)
        await runner.join(20)
        count = await runner._publisher.announced()
        assert count is not None
        assert lost <= await asyncio.to_thread(take, broker, count)


async def test_a_task_due_just_after_an_announcement_waits_for_no_poll(
    valkey: Valkey, shipping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with publishing(valkey.url, shipping, lease=240, sweep_interval=60) as runner:
        announced = runner._announced
        assert announced is not None
        await announced.loop.stepped.wait()
        announce, times = announced._announce, 0

        async def announce_and_wait_until_it_is_due() -> None:
            nonlocal times
            times += 1
            await announce()
            if times == 1:
                due = column(shipping, "due_at")[0]
                await until(lambda: time.time() > due)

        monkeypatch.setattr(announced, "_announce", announce_and_wait_until_it_is_due)
        async with task_session():
            runner.options(delay=0.2).submit(ship_durable, 1)
        await asyncio.to_thread(wait_until, lambda: announcements(valkey) == 1, 10)


@task(name="secondly", durable=True, schedule=timedelta(seconds=1))
async def secondly() -> None: ...


async def test_the_ticks_of_a_periodic_task_are_announced(broker: str, shipping: str) -> None:
    settings = CelerySettings(broker_url=SecretStr(broker))
    async with open_runner(TaskSettings(), settings, url=shipping, tasks=[secondly]) as runner:
        await until(lambda: "announced" in column(shipping, "owner"))
        await runner.join(5)
        assert await runner._publisher.announced()  # type: ignore[attr-defined]
    assert all(tick.startswith("tick-") for tick in column(shipping, "id"))


async def announce_rows(runner: CeleryRunner) -> None:
    for n in range(ROWS):
        await submit(runner, ship_durable, n)
    await announced(runner)


async def announced(runner: CeleryRunner) -> None:
    """Wait until the broker has as many announcements as there are rows."""
    async with asyncio.timeout(SECONDS):
        while (await runner._publisher.announced() or 0) < ROWS:
            await runner._announced.loop.stepped.wait()  # type: ignore[union-attr]  # it has started


def take(broker: str, count: int) -> set[str]:
    """Remove announcements from the broker; return the ids of their rows."""
    settings = CelerySettings(broker_url=SecretStr(broker))
    celery = make_celery(settings, TaskSettings())
    taken = set()
    with celery.connection_for_read() as connection:
        queue = celery.amqp.queues[ANNOUNCEMENTS].bind(connection.default_channel)
        for _ in range(count):
            message = queue.get()
            assert message is not None
            message.ack()
            taken.add(message.headers["id"])
    return taken


def rated_worker(folder: Path, journal: Journal, valkey: Valkey, database: str) -> WorkerProcess:
    return WorkerProcess(
        folder, journal, CELERY_BROKER_URL=valkey.url, DATABASE_URL=database,
        TASKS_SWEEP_INTERVAL="0.2",
    )  # fmt: skip


async def test_announcements_of_ended_rows_do_not_count_towards_a_rate_limit(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    with rated_worker(tmp_path, journal, valkey, shipping) as worker:
        worker.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            task_id = await submit(runner, rated_durable)
            await journal.until("succeeded", id=task_id)
            for _ in range(2 * RATE):
                message = Message(id=task_id, name="rated_durable", priority=5, durable=True)
                runner._publisher.put(message)
            await runner.join(20)
            await until(lambda: announcements(valkey) == 0)
            for _ in range(RATE - 1):
                await submit(runner, rated_durable)
            await asyncio.to_thread(journal.wait_for, "succeeded", RATE, within=30)


async def test_rows_over_their_rate_limit_wait_in_the_table(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    over = 3
    with rated_worker(tmp_path, journal, valkey, shipping) as worker:
        worker.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            for _ in range(RATE + over):
                await submit(runner, rated_durable)
            await journal.until("succeeded", RATE)
            # An empty broker alone proves nothing: some rows may not have been announced yet.
            await until(lambda: sum(later > 0 for _, later in queued(shipping)) == over)
            await until(lambda: messages(valkey) == 0)
            rows = queued(shipping)
    assert len(rows) == over
    assert all(attempts == 0 for attempts, _ in rows)
    assert all(30 < later < 65 for _, later in rows)
    assert len(journal.entries("ran")) == RATE


def queued(database_url: str) -> list[tuple[int, float]]:
    """Return attempts and delay, in seconds, of the rows that wait."""
    select = "SELECT attempts, due_at - created_at FROM background_tasks WHERE state = 'queued'"
    return [(row[0], row[1]) for row in run(database_url, select)]


def messages(valkey: Valkey) -> int:
    """Count the announcements in the queue and all unacknowledged messages."""
    return announcements(valkey) + valkey.unacknowledged


async def test_a_row_runs_once_however_often_it_is_announced(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    with rated_worker(tmp_path, journal, valkey, shipping) as worker:
        worker.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            task_id = await submit(runner, hold_durable)
            await journal.until("ran", id=task_id)
            for _ in range(3):
                message = Message(id=task_id, name="hold_durable", priority=5, durable=True)
                runner._publisher.put(message)
            await until(lambda: messages(valkey) == 1)  # the message of the run
            journal.open_gate()
            await journal.until("succeeded", id=task_id)
    assert len(journal.entries("ran")) == 1
