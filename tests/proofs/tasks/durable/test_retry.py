"""Retries of durable tasks, also across restarts."""

import asyncio
import time

import pytest

from app.tasks import Retry, TaskState, task

from .world import World


@task(durable=True)
async def marker() -> None:
    """Prove by its run that the table was polled."""


DAYS = 1e6
"""Seconds; even a random part of this delay is longer than any test."""
runs: list[int] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    runs.clear()


@task(durable=True, retry=Retry(on=ValueError, delay=DAYS, max_delay=DAYS))
async def fails_twice() -> None:
    runs.append(len(runs))
    if len(runs) < 3:
        raise ValueError(len(runs))


async def test_attempts_are_counted_across_restarts(world: World) -> None:
    async with world.process(fails_twice) as process:
        task_id = await process.submit(fails_twice)
        await process.watcher.until("retried")
    for attempt in (2, 3):
        record = world.run("SELECT attempts || state || error FROM background_tasks")
        assert record == [f"{attempt - 1}queuedValueError: {attempt - 1}"]
        await world.set(task_id, due_at=time.time())
        async with world.process(fails_twice) as process:
            await process.watcher.until("started")
            assert process.watcher.attempts("started") == [attempt]
            await process.watcher.until("retried" if attempt == 2 else "succeeded")
    assert world.run("SELECT attempts FROM background_tasks") == [3]
    assert world.run("SELECT error FROM background_tasks") == [None]
    assert runs == [0, 1, 2]


async def test_a_restart_does_not_shorten_the_wait_for_a_retry(world: World) -> None:
    async with world.process(fails_twice) as process:
        task_id = await process.submit(fails_twice)
        await process.watcher.until("retried")
        due_at = (await process.record(task_id)).due_at
    async with world.process(fails_twice, marker) as process:
        await world.insert("marker", marker.name)
        await process.watcher.until("succeeded")
        record = await process.record(task_id)
        assert process.watcher.ids("succeeded") == ["marker"]
    assert (record.state, record.attempts, record.due_at) == (TaskState.QUEUED, 1, due_at)


async def test_the_wait_for_a_retry_is_random_and_bounded(world: World) -> None:
    async with world.process(fails_twice) as process:
        before = time.time()
        for count in range(1, 6):
            runs.clear()
            await process.submit(fails_twice)
            await process.watcher.until("retried", count)
        waits = world.run("SELECT due_at FROM background_tasks")
    assert len({round(due_at, 6) for due_at in waits}) == 5
    assert all(before <= due_at <= time.time() + DAYS for due_at in waits)


async def test_a_shutdown_does_not_wait_for_a_retry(world: World) -> None:
    async with world.process(fails_twice, drain_timeout=60.0) as process:
        task_id = await process.submit(fails_twice)
        await process.watcher.until("retried")
        async with asyncio.timeout(5):
            await process.runner.__aexit__()
        record = await process.record(task_id)
        assert (record.state, record.attempts) == (TaskState.QUEUED, 1)
    assert world.run("SELECT owner FROM background_tasks") == [None]
    assert world.run("SELECT lease_until FROM background_tasks") == [0.0]


async def test_a_task_is_retried_in_the_same_process(world: World) -> None:
    @task(durable=True, retry=Retry(attempts=3, delay=0))
    async def quick() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise ValueError

    async with world.process(quick) as process:
        task_id = await process.submit(quick)
        await process.watcher.until("succeeded")
        await process.assert_everything_is_released()
        assert process.watcher.attempts("started") == [1, 2, 3]
        assert (await process.record(task_id)).attempts == 3


async def test_an_exception_of_another_type_is_final(world: World) -> None:
    @task(durable=True, retry=Retry(on=(ValueError,)))
    async def wrong() -> None:
        raise KeyError("mysql://user:pass@word@host/db token=abc")

    async with world.process(wrong) as process:
        task_id = await process.submit(wrong)
        await process.watcher.until("failed")
        record = await process.record(task_id)
    assert (record.state, record.attempts) == (TaskState.FAILED, 1)
    assert record.error == "KeyError: 'mysql://***@host/db token=***"
    assert record.finished_at is not None


async def test_a_timeout_is_retried_until_the_last_attempt(world: World) -> None:
    @task(durable=True, timeout=0.01, retry=Retry(attempts=2, delay=0))
    async def slow() -> None:
        await asyncio.Event().wait()

    async with world.process(slow) as process:
        task_id = await process.submit(slow)
        await process.watcher.until("timed_out")
        record = await process.record(task_id)
    assert (record.state, record.attempts) == (TaskState.TIMED_OUT, 2)
    assert record.error is not None
    assert record.error.startswith("TimeoutError: ")


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (HostileError(), "HostileError: (no text)"),
        (ValueError("\ud800 \0"), "ValueError: ? ?"),
        (ValueError("x" * 10_000), "ValueError: " + "x" * 488),
        (ValueError("first\nsecond"), "ValueError: first"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
async def test_any_exception_can_be_stored(world: World, error: BaseException, text: str) -> None:
    @task(durable=True)
    async def wrong() -> None:
        raise error

    async with world.process(wrong) as process:
        task_id = await process.submit(wrong)
        await process.watcher.until("failed")
        await process.assert_everything_is_released()
        record = await process.record(task_id)
    assert (record.state, record.error) == (TaskState.FAILED, text)
