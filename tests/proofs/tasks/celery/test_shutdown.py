"""SIGTERM of a busy worker: it exits in time, and the tasks that it ran are run again."""

import asyncio
import time
from pathlib import Path

import pytest

from app.db import task_session

from .application import hold, hold_durable, hold_sync, note, publishing
from .brokers import Valkey
from .journal import Journal
from .workers import WorkerProcess

DRAIN, GRACE = 1.0, 9.0


def worker(
    folder: Path, journal: Journal, valkey: Valkey, database: str, pool: str
) -> WorkerProcess:
    return WorkerProcess(
        folder, journal, pool=pool, CELERY_BROKER_URL=valkey.url, DATABASE_URL=database,
        TASKS_DRAIN_TIMEOUT=str(DRAIN), TASKS_LEASE="1", TASKS_SWEEP_INTERVAL="0.2",
        CELERY_VISIBILITY_TIMEOUT="15", TASKS_DEFAULT_TIMEOUT="14",
    )  # fmt: skip


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.exhaustive)])
async def test_a_busy_worker_exits_in_time_and_loses_no_task(
    pool: str, tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    async with publishing(valkey.url, shipping) as runner:
        with worker(tmp_path, journal, valkey, shipping, pool) as first:
            first.wait_until_ready()
            ids = [runner.submit(hold), runner.submit(hold)]
            async with task_session():
                ids.append(runner.submit(hold_durable))
            for task_id in ids:
                await journal.until("ran", id=task_id)
            begin = time.monotonic()
            first.terminate()
            await asyncio.to_thread(first.wait_for_exit)
            assert DRAIN <= time.monotonic() - begin < DRAIN + GRACE, first.output
        waiting = runner.submit(note, "meanwhile")
        journal.open_gate()
        with worker(tmp_path, journal, valkey, shipping, pool) as second:
            for task_id in [*ids, waiting]:
                await journal.until("succeeded", id=task_id)
        assert {e["pid"] for e in journal.entries("succeeded")} != {first.pid}
        assert second.pid != first.pid


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.exhaustive)])
async def test_a_thread_that_goes_on_does_not_delay_the_exit(
    pool: str, tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    async with publishing(valkey.url, shipping) as runner:
        with worker(tmp_path, journal, valkey, shipping, pool) as first:
            first.wait_until_ready()
            task_id = runner.submit(hold_sync)
            await journal.until("ran", id=task_id)
            begin = time.monotonic()
            first.terminate()
            await asyncio.to_thread(first.wait_for_exit)
            assert DRAIN <= time.monotonic() - begin < DRAIN + GRACE, first.output
        journal.open_gate()
        with worker(tmp_path, journal, valkey, shipping, pool):
            await journal.until("succeeded", id=task_id)


async def test_a_worker_that_exits_without_its_broker_logs_no_traceback(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    with worker(tmp_path, journal, valkey, shipping, "threads") as process:
        process.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            await journal.until("ran", id=runner.submit(hold))
        try:
            valkey.kill()
            process.terminate()
            assert await asyncio.to_thread(process.wait_for_exit) == 0
        finally:
            await asyncio.to_thread(valkey.start)
        journal.open_gate()
        output = process.output
    assert "goes back to the queue" in output
    assert "Couldn't reject" in output
    assert "Traceback" not in output


async def test_a_second_interrupt_of_a_prefork_worker_logs_no_traceback(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    async with publishing(valkey.url, shipping) as runner:
        with worker(tmp_path, journal, valkey, shipping, "prefork") as process:
            process.wait_until_ready()
            await journal.until("ran", id=runner.submit(hold))
            process.interrupt()
            await asyncio.to_thread(process.wait_for_output, "Warm shutdown")
            process.interrupt()
            await asyncio.to_thread(process.wait_for_exit)
            assert "Traceback" not in process.output
        journal.open_gate()
