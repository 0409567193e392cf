"""Workers and brokers that are killed at work: no durable task is lost.

Of the other tasks at most one is lost: the one whose message kombu has removed from its list in
Redis but not yet recorded as unacknowledged.
"""

import asyncio
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from app.db import task_session
from app.tasks.celery import BrokerUnavailable, CeleryRunner
from tests.databases.server import run
from waiting import wait_until

from .application import hold, poison, publishing, ship, ship_durable
from .brokers import Valkey
from .journal import Journal
from .workers import WorkerProcess

TASKS = 100


def worker(
    folder: Path, journal: Journal, valkey: Valkey, database: str, pool: str, **options: Any
) -> WorkerProcess:
    """Start a worker whose loss is noticed soon, but not when the machine is only busy."""
    return WorkerProcess(
        folder, journal, pool=pool, CELERY_BROKER_URL=valkey.url, DATABASE_URL=database,
        CELERY_VISIBILITY_TIMEOUT="5", TASKS_LEASE="2", TASKS_SWEEP_INTERVAL="0.2",
        TASKS_DEFAULT_TIMEOUT="4", TASKS_DRAIN_TIMEOUT="1", **options,
    )  # fmt: skip


def shipped(database: str) -> list[int]:
    return [row[0] for row in run(database, "SELECT n FROM shipped ORDER BY n")]


def nearly_all(accepted: Iterable[int], database: str) -> bool:
    """Return whether all durable tasks have run, and all others but at most one."""
    missing = set(accepted) - set(shipped(database))
    return all(n % 2 for n in missing) and len(missing) <= 1


async def submit(runner: CeleryRunner, n: int) -> None:
    """Submit a durable task for every even number."""
    if n % 2:
        runner.submit(ship, n)
        return
    async with task_session():
        runner.submit(ship_durable, n)


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.exhaustive)])
async def test_kill_nine_of_a_worker_loses_no_durable_task(
    pool: str, tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    with (
        worker(tmp_path, journal, valkey, shipping, pool) as first,
        worker(tmp_path, journal, valkey, shipping, pool) as second,
    ):
        first.wait_until_ready()
        second.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            for n in range(TASKS):
                await submit(runner, n)
            if pool == "prefork":
                began = await journal.until("began", 5)
                os.kill(began[-1]["pid"], signal.SIGKILL)
            await journal.until("began", 20)
            first.kill()
            await asyncio.to_thread(wait_until, lambda: nearly_all(range(TASKS), shipping))
    assert len(shipped(shipping)) == len(set(shipped(shipping)))


async def test_a_broker_restart_under_load_loses_no_durable_task(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    accepted = []
    with worker(tmp_path, journal, valkey, shipping, "threads") as process:
        process.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            for n in range(TASKS):
                try:
                    await submit(runner, n)
                except BrokerUnavailable:
                    continue
                accepted.append(n)
                if n == 50:
                    valkey.kill()
                    await asyncio.to_thread(wait_until, lambda: not runner._publisher.available)
                if n == 80:
                    await asyncio.to_thread(valkey.start)
                    await asyncio.to_thread(wait_until, lambda: runner._publisher.available)
            await asyncio.to_thread(wait_until, lambda: nearly_all(accepted, shipping))
    assert set(shipped(shipping)) <= set(accepted)  # no refused task has run
    assert set(range(0, TASKS, 2)) <= set(accepted)
    assert 53 not in accepted
    assert 99 in accepted


async def test_a_full_redis_costs_a_worker_one_task_at_most(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    with (
        worker(tmp_path, journal, valkey, shipping, "threads", concurrency=1) as process,
        valkey.client() as client,
    ):
        process.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            runner.submit(hold)
            await journal.until("ran")
            for n in range(5):
                runner.submit(ship, n)
            await runner.join(20)
            client.config_set("maxmemory", 1)
            journal.open_gate()
            try:
                waits = "Cannot connect"
                await asyncio.to_thread(wait_until, lambda: process.output.count(waits) > 2)
            finally:
                client.config_set("maxmemory", 0)
            await journal.until("shipped", 4)


@pytest.mark.parametrize(
    ("pool", "workers_lost"),
    [pytest.param("threads", 2, marks=pytest.mark.exhaustive), ("prefork", 0)],
)
async def test_a_task_that_kills_its_process_becomes_dead(
    pool: str, workers_lost: int, tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    options = {"concurrency": 1, "TASKS_CRASH_ATTEMPTS": "2"}
    async with publishing(valkey.url, shipping) as runner:
        task_id = runner.submit(poison)
        runner.submit(ship, 1)
        for _ in range(workers_lost):  # a prefork worker only loses a child
            with worker(tmp_path, journal, valkey, shipping, pool, **options) as process:
                assert await asyncio.to_thread(process.wait_for_exit) == -signal.SIGKILL
        with worker(tmp_path, journal, valkey, shipping, pool, **options):
            (failed,) = await journal.until("failed", id=task_id)
            await journal.until("shipped")
            await asyncio.to_thread(wait_until, lambda: not valkey.unacknowledged)
            async with asyncio.timeout(20):  # a worker writes states a few times a second
                while (record := await runner.describe(task_id)) is None or not record.finished_at:
                    pass
    assert "PoisonedError('the process ended during run 2 of 2')" in failed["error"]
    assert len(journal.entries("ran", id=task_id)) == 2
    assert (record.state, record.attempts) == ("dead", 2)
