"""Keys of durable tasks across all processes of a database; snoozes, progress, tracebacks."""

import asyncio

import pytest

from app.db import task_session
from app.tasks import Progress, Retry, Snooze, TaskState, current_runner, report_progress, task
from tests.tasks.gate import Gate

from .calls import Calls
from .world import LONG, RARE_POLLS, World, leave_effect


@task(durable=True)
async def effect(n: int) -> None:
    await leave_effect(n)


async def test_twenty_submissions_with_one_key_are_one_row(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def bill(n: int) -> None:
        await gate.hold()
        await leave_effect(n)

    async with world.process(bill, lease=LONG) as one, world.process(bill, lease=LONG) as two:
        ids = set(
            await asyncio.gather(
                *(process.submit(bill, n, key="ann") for n in range(10) for process in (one, two))
            )
        )
        await gate.holds(1)
        ids.add(await two.submit(bill, 10, key="ann"))
        assert len(ids) == 1
        gate.open()
        for process in (one, two):
            await process.assert_everything_is_released()
        (task_id,) = ids
        assert len(world.effects) == 1

        assert await one.submit(bill, 11, key="ann") == task_id
        for process in (one, two):
            await process.assert_everything_is_released()
        record = await one.record(task_id)
        assert (record.state, record.attempts) == (TaskState.SUCCEEDED, 1)
    assert world.effects[1:] == [11]
    assert len(world.states) == 1


async def test_one_key_added_often_in_one_transaction_is_one_row(world: World) -> None:
    async with world.process(effect) as process:
        async with process.database.session():
            for n in range(3):
                process.runner.options(key="same").submit(effect, n)
        await process.assert_everything_is_released()
    assert world.effects == [0]


async def test_transactions_with_keys_in_any_order_do_not_deadlock(world: World) -> None:
    keys = [f"key {n}" for n in range(10)]

    async with world.process(effect, lease=LONG) as one, world.process(effect, lease=LONG) as two:

        async def submit(n: int) -> None:
            process = (one, two)[n % 2]
            async with process.database.session():
                for key in keys if n % 3 else reversed(keys):
                    process.runner.options(key=key, delay=60).submit(effect, n)

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for n in range(20):
                group.create_task(submit(n))
    assert len(world.states) == 10


async def test_the_key_of_a_failed_task_can_be_used_again(world: World) -> None:
    fails = [True]

    @task(durable=True)
    async def charge(n: int) -> None:
        if fails.pop():
            raise ValueError(n)

    async with world.process(charge) as process:
        fails[:] = [False, True]
        task_id = await process.submit(charge, 1, key="order")
        await process.watcher.until("failed")
        record = await process.record(task_id)
        assert record.traceback is not None
        assert record.traceback.endswith("ValueError: 1")
        assert "raise ValueError(n)" in record.traceback
        await process.submit(charge, 2, key="order")
        await process.watcher.until("succeeded")
        record = await process.record(task_id)
    assert (record.state, record.attempts) == (TaskState.SUCCEEDED, 1)
    assert (record.error, record.traceback) == (None, None)


async def test_a_cancelled_run_does_not_end_the_next_of_its_key(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def bill(n: int) -> None:
        if n == 1:
            await gate.hold()
        await leave_effect(n)

    async with world.process(bill, lease=20) as one, world.process(lease=20) as other:
        task_id = await one.submit(bill, 1, key="ann")
        await gate.holds(1)
        assert await other.runner.cancel_anywhere(task_id)
        assert await one.submit(bill, 2, key="ann") == task_id
        gate.open()
        await one.watcher.until("succeeded", 2)
    assert world.effects == [1, 2]


async def test_a_key_cancelled_elsewhere_and_added_again_runs_at_once(
    world: World, gate: Gate
) -> None:
    """It starts when the process that ran it learns of the cancellation, not at the next poll."""

    @task(durable=True)
    async def held() -> None:
        await gate.hold()

    settings = {**RARE_POLLS, "max_concurrency": 9}
    async with (
        world.process(held, **settings) as process,
        world.process(held, claim="none", **settings) as other,
    ):
        task_id = await process.submit(held, key="same")
        await gate.holds(1)
        assert await other.runner.cancel_anywhere(task_id)
        assert await other.submit(held, key="same") == task_id
        assert process.runner._durable is not None
        process.runner._durable._leases.loop.wake()
        await gate.holds(2)
        gate.open()
        await process.watcher.until("succeeded")


async def test_a_key_in_use_takes_no_capacity(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def bill(n: int) -> None:
        await gate.hold(n)

    async with world.process(bill, max_concurrency=1, queue_size=2) as process:
        await process.submit(bill, 0)
        await gate.holds(1)
        for n in range(10):
            await process.submit(bill, n, key="ann")
        assert process.reserved == 0
        gate.open()
        await process.assert_everything_is_released()
    assert gate.entered == [0, 0]


async def test_a_snooze_is_not_an_attempt(world: World) -> None:
    runs: list[int] = []

    @task(durable=True, retry=Retry(attempts=1))
    async def wait(n: int) -> None:
        runs.append(n)
        if len(runs) < 4:
            raise Snooze(0.3)

    async with world.process(wait) as process:
        task_id = await process.submit(wait, 1)
        await process.runner.join(10)  # it also waits for snoozed tasks
        assert process.watcher.attempts("started") == [1, 1, 1, 1]
        assert (await process.record(task_id)).attempts == 1


async def test_progress_is_written_when_the_lease_is_renewed(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def count() -> None:
        report_progress(1, note="begun")
        report_progress(50, 200, "half of the half")
        await gate.hold()

    async with world.process(count, lease=0.4) as one, world.process() as other:
        task_id = await one.submit(count)
        async with asyncio.timeout(10):
            while (progress := (await other.record(task_id)).progress) is None:
                pass
        assert progress == Progress(50, 200, "half of the half")
        gate.open()
        await one.runner.join(10)
        assert (await other.record(task_id)).progress is None  # not what it was at the last renewal


@pytest.mark.parametrize("key", ["order:1", "\0", "🚀" * 1000])
async def test_any_text_can_be_a_key(world: World, key: str) -> None:
    @task(durable=True)
    async def parent() -> None:
        async with task_session():
            current_runner().options(key=key).submit(effect, 1)

    async with world.process(parent, effect) as process:
        await process.submit(parent)
        await process.watcher.until("succeeded", 2)
    assert world.effects == [1]


async def test_a_key_added_while_its_end_is_recorded_runs_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process still holds the ended run, so that its first claim leaves the row out."""
    async with world.process(effect, **{**RARE_POLLS, "max_concurrency": 9}) as process:
        assert process.runner._durable is not None
        claims = Calls(monkeypatch, process.store, "claim_due")
        ends = Calls(monkeypatch, process.runner._durable.recorder, "_succeed")

        async def add_again() -> None:
            ends.after = None
            await process.submit(effect, 2, key="one")
            await claims.more(1)

        ends.after = add_again
        await process.submit(effect, 1, key="one")
        await process.watcher.until("succeeded", 2)
    assert world.effects == [1, 2]
