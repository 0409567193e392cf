"""Cancelling durable tasks in every state and process, and retrying ended ones."""

import asyncio
import threading
from contextlib import AsyncExitStack

import pytest

from app.tasks import Retry, TaskState, task
from app.tasks.job import Job
from tests.tasks.gate import Gate

from .world import Process, World, leave_effect


@task(durable=True, max_concurrency=1)
async def work(n: int) -> None:
    await leave_effect(n)


async def state(process: Process, task_id: str) -> str:
    return (await process.record(task_id)).state


async def test_a_running_task_is_cancelled(world: World, gate: Gate) -> None:
    @task(durable=True, retry=Retry())
    async def long() -> None:
        await gate.hold()

    async with world.process(long) as process:
        task_id = await process.submit(long)
        await gate.holds(1)
        assert await process.runner.cancel_anywhere(task_id) is True
        await process.watcher.until("cancelled")
        assert await process.runner.cancel_anywhere(task_id) is False
        await process.assert_everything_is_released()
        assert await state(process, task_id) is TaskState.CANCELLED
    assert gate.left == []


async def test_throttled_queued_and_delayed_tasks_are_cancelled(world: World, gate: Gate) -> None:
    @task(durable=True, max_concurrency=1)
    async def long(label: str) -> None:
        await gate.hold(label)

    async with world.process(long) as process:
        async with process.database.session():
            process.runner.submit(long, "first")
            throttled = process.runner.submit(long, "second")
        await gate.holds(1)
        in_table = await process.submit(long, "third")
        delayed = await process.submit(long, "fourth", delay=3600)
        for task_id in (throttled, in_table, delayed):
            assert await process.runner.cancel_anywhere(task_id) is True
        gate.open()
        await process.assert_everything_is_released()
        for task_id in (throttled, in_table, delayed):
            assert await state(process, task_id) is TaskState.CANCELLED
    assert gate.left == ["first"]


async def test_cancel_stops_only_tasks_held_by_this_process(world: World, gate: Gate) -> None:
    """`runner.cancel` reaches only tasks held by this process; the table records the end too."""

    @task(durable=True, max_concurrency=1)
    async def long() -> None:
        await gate.hold()

    async with world.process(long) as process:
        running = await process.submit(long)
        await gate.holds(1)
        in_table = await process.submit(long)
        assert process.runner.cancel(in_table) is False
        assert process.runner.cancel(running) is True
        await process.watcher.until("cancelled")
        gate.open()
        await process.watcher.until("succeeded")
    assert world.states == ["cancelled", "succeeded"]


async def test_a_task_that_runs_in_another_process_is_cancelled(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long) as there, AsyncExitStack() as stack:
        task_id = await there.submit(long)
        await gate.holds(1)
        here = await stack.enter_async_context(world.process(long))
        assert await here.runner.cancel_anywhere(task_id) is True
        await there.watcher.until("cancelled")
        await there.assert_everything_is_released()
        assert await state(here, task_id) is TaskState.CANCELLED
    assert gate.left == []


async def test_a_task_can_be_retried_before_its_process_learns_of_the_cancellation(
    world: World, gate: Gate
) -> None:
    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long) as there, world.process(long, claim="none") as here:
        task_id = await there.submit(long)
        await gate.holds(1)
        assert await here.runner.cancel_anywhere(task_id) is True
        assert await here.runner.retry_durable(task_id) is True
        await there.watcher.until("cancelled")
        await gate.holds(2)
        gate.open()
        await there.watcher.until("succeeded")
        assert (await here.record(task_id)).attempts == 1
        await there.assert_everything_is_released()


async def test_a_task_is_cancelled_before_its_first_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.process(work) as process:
        loop = asyncio.get_running_loop()
        dispatcher = process.runner._dispatcher
        assert dispatcher is not None
        enqueue = dispatcher.enqueue

        def enqueue_and_cancel(job: Job) -> None:
            loop.call_soon(process.runner.cancel, job.id)  # before its first step
            enqueue(job)

        monkeypatch.setattr(dispatcher, "enqueue", enqueue_and_cancel)
        task_id = await process.submit(work, 1)
        await process.watcher.until("cancelled")
        await process.assert_everything_is_released()
        assert await state(process, task_id) is TaskState.CANCELLED
    assert world.effects == []


async def test_an_unknown_task_is_neither_cancelled_nor_retried(world: World) -> None:
    async with world.process(work) as process:
        assert await process.runner.cancel_anywhere("unknown") is False
        assert await process.runner.retry_durable("unknown") is False


@pytest.mark.parametrize("ended", ["dead", "failed", "timed_out", "cancelled"])
async def test_a_task_that_ended_without_success_is_retried(world: World, ended: str) -> None:
    await world.insert(
        "it", work.name, arguments='{"n": 7}', state=ended, attempts=3, finished_at=1.0, error="x"
    )
    async with world.process(work, retention=float("inf")) as process:
        assert await process.runner.retry_durable("it") is True
        await process.watcher.until("succeeded")
        record = await process.record("it")
    assert (record.state, record.attempts, record.error) == (TaskState.SUCCEEDED, 1, None)
    assert world.effects == [7]


async def test_succeeded_and_running_tasks_are_not_retried(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long, work) as process:
        done = await process.submit(work, 1)
        await process.watcher.until("succeeded")
        running = await process.submit(long)
        await gate.holds(1)
        assert await process.runner.retry_durable(done) is False
        assert await process.runner.retry_durable(running) is False
        gate.open()


async def test_a_retry_waits_until_the_thread_of_the_cancelled_run_ends(world: World) -> None:
    """A thread cannot be stopped, so that the second run waits for its end."""
    entered, go_on = threading.Event(), threading.Event()
    inside, most_inside = 0, 0

    @task(durable=True)
    def stubborn() -> None:
        nonlocal inside, most_inside
        inside += 1
        most_inside = max(inside, most_inside)
        entered.set()
        go_on.wait(10)
        inside -= 1

    async with world.process(stubborn, work) as process:
        task_id = await process.submit(stubborn)
        await asyncio.to_thread(entered.wait, 10)
        assert await process.runner.cancel_anywhere(task_id) is True
        assert await process.runner.retry_durable(task_id) is True
        await process.submit(work, 1)
        await process.watcher.until("succeeded", 1)
        assert await state(process, task_id) is TaskState.QUEUED
        go_on.set()
        await process.watcher.until("cancelled", 1)
        await process.watcher.until("succeeded", 2)
        await process.assert_everything_is_released()
        record = await process.record(task_id)
    assert most_inside == 1
    assert (record.state, record.attempts) == (TaskState.SUCCEEDED, 1)


async def test_a_retry_waits_until_the_cancelled_run_cleaned_up(world: World, gate: Gate) -> None:
    cleanup = Gate()

    @task(durable=True)
    async def careful() -> None:
        try:
            await gate.hold()
        finally:
            await cleanup.hold()

    async with world.process(careful, work) as process:
        task_id = await process.submit(careful)
        await gate.holds(1)
        assert await process.runner.cancel_anywhere(task_id) is True
        await cleanup.holds(1)
        assert await process.runner.retry_durable(task_id) is True
        await process.submit(work, 1)
        await process.watcher.until("succeeded", 1)
        assert len(gate.entered) == 1
        gate.open()
        cleanup.open()
        await process.watcher.until("succeeded", 2)
        await process.assert_everything_is_released()
        assert (await process.record(task_id)).attempts == 1
