"""Pages of the table, groups of failures, and retrying all: no row is missed or runs twice."""

import asyncio
import math
import time
from typing import Any

import pytest

from app.tasks import TaskState, TaskStore, task
from app.tasks.durable import store

from .world import LONG, World, leave_effect


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


@task(durable=True)
async def lose(n: int) -> None:
    raise LookupError(n)


async def insert(world: World, n: int, **values: Any) -> str:
    row = {"arguments": f'{{"n": {n}}}', "state": "failed", "finished_at": time.time(), **values}
    return await world.insert(f"row-{n:03}", **{"name": work.name, **row})


async def test_pages_miss_no_row_while_rows_are_added_and_change(world: World) -> None:
    """Several rows have the same time, and some have a state that this release does not know."""
    states = ["failed", "succeeded", "queued", "paused"]
    for n in range(40):
        await insert(world, n, created_at=1000.1 + n // 6, state=states[n % 4])
    seen: list[str] = []
    async with world.process() as process:
        before = None
        for n in range(100, 200):
            page, before = await process.store.page(None, None, before, 7)
            seen += [record.id for record in page]
            if before is None:
                break
            await insert(world, n)
            await world.set(f"row-{n % 40:03}", state="cancelled")
    assert seen == [f"row-{n:03}" for n in reversed(range(40))]


@pytest.mark.parametrize("created_at", [float("inf"), -1e300, 0.1 + 0.2])
async def test_paging_ends_whatever_times_rows_have(world: World, created_at: float) -> None:
    for n in range(3):
        await insert(world, n, created_at=created_at)
    async with world.process() as process:
        first, before = await process.store.page(TaskState.FAILED, work.name, None, 2)
        second, end = await process.store.page(TaskState.FAILED, work.name, before, 2)
    assert [record.id for record in first + second] == ["row-002", "row-001", "row-000"]
    assert end is None
    assert {record.arguments for record in first} == {""}  # a page does not load large arguments


@pytest.mark.parametrize("before", ["", "x", "_row-000", "1_\0", "row-000_1"])
async def test_an_invalid_cursor_is_refused(world: World, before: str) -> None:
    async with world.process() as process:
        with pytest.raises(ValueError, match=r"^"):
            await process.store.page(None, None, before, 2)


async def test_equal_failures_are_grouped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        await insert(world, n, error="ValueError: no", attempts=n, finished_at=100.0 + n)
    await insert(world, 5, error="ValueError: yes", finished_at=200.0)
    await insert(world, 6, state="dead", error="ValueError: no", finished_at=300.0)
    await insert(world, 7, state="cancelled", finished_at=50.0)
    await insert(world, 8, state="succeeded", error="ValueError: no")
    async with world.process(retention=math.inf) as process:
        failures = [tuple(group) for group in await process.store.failures(10)]
        monkeypatch.setattr(TaskStore, "COUNTED", 2)
        counted = await process.store.count(TaskState.FAILED, None)
    name = work.name
    assert failures == [
        (name, "dead", "ValueError: no", 1, 0, "row-006", 300.0),
        (name, "failed", "ValueError: yes", 1, 0, "row-005", 200.0),
        (name, "failed", "ValueError: no", 5, 4, "row-000", 104.0),
        (name, "cancelled", None, 1, 0, "row-007", 50.0),
    ]
    assert counted == 2


async def test_concurrent_retries_of_all_rows_run_each_row_once(world: World) -> None:
    for n in range(60):
        await insert(world, n)
    for n in range(60, 90):
        await insert(world, n, state="queued", finished_at=None)
    async with world.process(work, lease=LONG) as one, world.process(work, lease=LONG) as two:
        retries = [p.runner.retry_all(TaskState.FAILED) for p in (one, two, one, two)]
        numbers = await asyncio.gather(*retries)
        await one.runner.join(30)
        await two.runner.join(30)
    assert sum(numbers) == 60
    assert sorted(world.effects) == list(range(90))


async def test_retry_all_uses_short_transactions_and_skips_new_failures(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []

    async def start_over(*args: Any) -> int:
        batches.append(await original(*args))
        return batches[-1]

    for n in range(9):
        await insert(world, n, name=lose.name, limit_group=lose.name)
    async with world.process(lose) as process, asyncio.timeout(30):
        original = process.store._start_over
        monkeypatch.setattr(store, "MAX_ROWS", 2)
        monkeypatch.setattr(process.store, "_start_over", start_over)
        assert await process.runner.retry_all(TaskState.FAILED) == 9
        await process.watcher.until("failed", 9)
    assert batches == [2, 2, 2, 2, 1, 0]


async def test_retry_all_restarts_only_matching_rows_and_at_once(world: World) -> None:
    await insert(world, 0, attempts=3)
    await insert(world, 1, state="timed_out")
    await world.insert("other", "other", state="failed", finished_at=time.time())
    await world.insert("later", work.name, due_at=time.time() + 1000)
    async with world.process(work, sweep_interval=600.0, lease=2400.0) as process:
        await process.submit(work, 5)
        await process.watcher.until("succeeded")
        await process.runner.join(10)  # from here on only a wake-up makes it poll
        for state in (TaskState.RUNNING, TaskState.QUEUED, TaskState.SUCCEEDED):
            assert await process.runner.retry_all(state) == 0
        assert await process.runner.retry_all(TaskState.FAILED, work.name) == 1
        await process.watcher.until("succeeded", 2)
        assert process.watcher.attempts("started") == [1, 1]
    assert world.effects == [5, 0]
    states = ["failed", "queued", "succeeded", "succeeded", "timed_out"]
    assert sorted(world.states) == states
