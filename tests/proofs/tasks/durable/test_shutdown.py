"""Shutdown: tasks that have not run stay in the table for the next start or another process."""

import asyncio
import threading
import time

import pytest

from app.db import task_session
from app.tasks import current_runner, task
from tests.tasks.gate import Gate

from .calls import Calls
from .world import World, leave_effect


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


def leases(world: World) -> list[str | None]:
    """Return `<state><attempts><owner or -><1 if the lease has not ended>` of every row."""
    return world.run(
        "SELECT state || attempts || coalesce(owner, '-') ||"
        " CASE WHEN lease_until > :now THEN 1 ELSE 0 END"
        " FROM background_tasks ORDER BY created_at",
        now=time.time(),
    )


async def test_a_running_task_is_cancelled_and_requeued(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def long(n: int) -> None:
        await gate.hold(n)

    async with world.process(long, drain_timeout=0.05, max_concurrency=1) as process:
        await process.submit(long, 1)
        await gate.holds(1)
        await process.submit(long, 2)
    assert leases(world) == ["queued0-0", "queued0-0"]
    gate.open()
    async with world.process(long) as process:
        await process.watcher.until("succeeded", 2)
    assert sorted(gate.left) == [1, 2]
    assert world.run("SELECT attempts FROM background_tasks") == [1, 1]


async def test_throttled_tasks_stay_in_the_table(world: World, gate: Gate) -> None:
    @task(durable=True, max_concurrency=1)
    async def one_by_one(n: int) -> None:
        await gate.hold(n)

    async with world.process(one_by_one, drain_timeout=0.05) as process:
        async with process.database.session():
            for n in range(3):
                process.runner.submit(one_by_one, n)
        await gate.holds(1)
        assert len(process.watcher.ids("queued")) == 1
    assert leases(world) == ["queued0-0"] * 3


async def test_a_thread_that_outlives_the_drain_keeps_its_lease(world: World) -> None:
    """It goes on until the process ends, and no other process may start the task before."""
    entered, go_on = threading.Event(), threading.Event()

    @task(durable=True)
    def stubborn() -> None:
        entered.set()
        go_on.wait(10)

    async with world.process(stubborn, drain_timeout=0.01, lease=60) as process:
        await process.submit(stubborn)
        await asyncio.to_thread(entered.wait, 10)
    go_on.set()
    assert leases(world) == ["queued0-1"]


async def test_a_task_that_ends_during_the_drain_succeeds(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long) as process:
        await process.submit(long)
        await gate.holds(1)
        gate.open()
    assert leases(world) == ["succeeded1-0"]


async def test_the_lease_is_renewed_while_tasks_are_drained(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long) as process:
        renewals = Calls(monkeypatch, process.store, "renew")
        await process.submit(long)
        await gate.holds(1)
        closing = asyncio.create_task(process.runner.__aexit__())
        await renewals.more(6)
        assert not closing.done()
        gate.open()
        await closing
    assert leases(world) == ["succeeded1-0"]


async def test_a_task_added_during_the_drain_waits_for_the_next_start(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    draining = asyncio.Event()

    @task(durable=True)
    async def parent() -> None:
        await gate.hold()
        async with task_session():
            current_runner().submit(work, 1)

    async def begin() -> None:
        draining.set()

    async with world.process(parent, work) as process:
        await process.submit(parent)
        await gate.holds(1)
        Calls(monkeypatch, process.runner._dispatcher, "drain").before = begin
        closing = asyncio.create_task(process.runner.__aexit__())
        await asyncio.wait_for(draining.wait(), 10)
        gate.open()
        await closing
        assert process.reserved == 0
    assert leases(world) == ["succeeded1-0", "queued0-0"]
    async with world.process(work) as process:
        await process.watcher.until("succeeded")
    assert world.effects == [1]


async def test_a_task_claimed_just_before_the_shutdown_is_released(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.process(work) as process:
        claims = Calls(monkeypatch, process.store, "claim_due")
        claimed, closing = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            if leases(world) != ["queued0-0"]:
                claimed.set()
                await closing.wait()

        claims.after = hold
        await world.insert("it", work.name, arguments='{"n": 1}')
        async with asyncio.timeout(5):
            await claimed.wait()
        end = asyncio.create_task(process.runner.__aexit__())
        while process.runner.accepting:  # noqa: ASYNC110 - it is about to begin
            await asyncio.sleep(0)
        closing.set()
        await end
        assert process.watcher.ids("started") == []
        assert process.reserved == 0
    assert leases(world) == ["queued0-0"]


async def test_a_commit_after_the_shutdown_leaves_its_row_queued(world: World) -> None:
    async with world.process(work) as process:
        async with process.database.session():
            process.runner.submit(work, 1)
            await process.runner.__aexit__()
        assert process.reserved == 0
    assert leases(world) == ["queued0-0"]


async def test_a_cancellation_just_before_a_shutdown_is_recorded(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long, drain_timeout=5) as process:
        task_id = await process.submit(long)
        await gate.holds(1)
        assert process.runner.cancel(task_id) is True
    assert world.states == ["cancelled"]


async def test_a_durable_task_is_released_beside_very_many_in_memory_ones(
    world: World, gate: Gate
) -> None:
    """The database is closed soon after the drain, so the release has to be written first."""

    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long, drain_timeout=0.01, max_concurrency=1) as process:
        await process.submit(long)
        await gate.holds(1)
        for _ in range(300):
            process.runner.submit(gate.hold)
    assert leases(world) == ["queued0-0"]
