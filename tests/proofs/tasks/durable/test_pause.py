"""Pausing, resuming and limiting durable tasks across all processes of a database."""

import asyncio
from functools import partial
from typing import Any

import pytest

from app.tasks import TaskType, UnknownTaskError, task
from app.tasks.task_types import TaskTypes
from tests.tasks.gate import Gate

from .calls import Calls
from .world import LONG, Process, World, leave_effect


@task(name="work", durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


@task(name="other", durable=True)
async def other(n: int) -> None:
    await leave_effect(n)


def type_of(process: Process, name: str = "work") -> TaskType:
    (task_type,) = (item for item in process.runner.types() if item.name == name)
    return task_type


async def readings(process: Process, count: int) -> None:
    """Wait until the process has read pauses and limits from the table `count` times."""
    types: Any = process.runner._types
    for _ in range(count):
        await types.loop.stepped.wait()


@pytest.fixture
def reads_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make processes read pauses and limits ten times a second."""
    monkeypatch.setattr("app.tasks.task_types._INTERVAL", 0.1)


async def polls(process: Process, count: int) -> None:
    assert process.runner._poller is not None
    for _ in range(count):
        await process.runner._poller.loop.stepped.wait()


async def test_a_pause_reaches_other_processes_within_a_second(world: World) -> None:
    process = partial(world.process, work, other, lease=LONG)
    async with process() as one, process() as two:
        await one.runner.pause("work")
        await readings(two, 2)  # the first may have begun before the pause
        assert two.runner._types.loop.pause == 1.0
        assert type_of(one).paused
        assert type_of(two).paused
        for n in range(5):
            await two.submit(work, n)
        await one.submit(other, 99)
        await asyncio.to_thread(world.fill, "work", 5)
        claims = [Calls(pytest.MonkeyPatch(), process.store, "claim_due") for process in (one, two)]
        await asyncio.gather(*(calls.more(3) for calls in claims))
        assert world.effects == [99]
        assert world.run("SELECT SUM(attempts) FROM background_tasks WHERE name = 'work'") == [0]
        await two.runner.resume("work")
        await two.runner.join(30)
        await one.runner.join(30)
        await readings(one, 1)
        assert not type_of(one).paused
    assert sorted(world.effects) == sorted([*range(5), *range(5), 99])


@pytest.mark.usefixtures("reads_often")
async def test_a_resumed_task_runs_in_order_and_at_once(world: World) -> None:
    settings: dict[str, Any] = {"sweep_interval": 60, "lease": 240, "max_concurrency": 1}
    async with world.process(work, **settings) as process:
        await process.runner.pause("work")
        for n in range(8):
            await process.submit(work, n)
        delayed = await process.submit(work, 8, delay=1)
        await readings(process, 2)
        await process.runner.resume("work")
        await process.watcher.until("succeeded", 9)
        assert process.watcher.ids("succeeded")[-1] == delayed
    assert world.effects == list(range(9))


@pytest.mark.usefixtures("reads_often")
async def test_a_pause_and_changed_limits_survive_a_restart(world: World) -> None:
    async with world.process(work) as process:
        await process.runner.pause("work")
        await process.runner.limit("work", max_concurrency=3, rate_limit="7/hour")
        await process.submit(work, 1)
        assert (type_of(process).max_concurrency, type_of(process).rate_limit) == (3, "7/hour")
        await readings(process, 3)
        assert type_of(process).max_concurrency == 3
    async with world.process(work) as process:
        assert type_of(process).paused
        assert (type_of(process).max_concurrency, type_of(process).rate_limit) == (3, "7/hour")
        assert world.effects == []
        await process.runner.limit("work")
        assert (type_of(process).max_concurrency, type_of(process).rate_limit) == (None, None)
        await process.runner.resume("work")
        await process.runner.join(10)
    assert world.effects == [1]


async def test_a_new_process_uses_the_changed_limits_of_the_others(world: World) -> None:
    overrides = {"work": {"max_concurrency": 9}}
    async with world.process(work, overrides=overrides) as one:
        await one.runner.limit("work", max_concurrency=3)
        async with world.process(work, overrides=overrides) as two:
            assert type_of(two).max_concurrency == 3
            await two.runner.limit("work")
            await readings(one, 1)
            assert type_of(one).max_concurrency == type_of(two).max_concurrency == 9


@pytest.mark.usefixtures("reads_often")
async def test_a_changed_limit_holds_everywhere_when_a_pause_ends(world: World, gate: Gate) -> None:
    @task(name="narrow", durable=True)
    async def narrow(n: int) -> None:
        await gate.hold(n)

    async with world.process(narrow, lease=60) as one, world.process(narrow, lease=60) as two:
        await one.submit(narrow, -1)
        await gate.holds(1)
        await one.runner.pause("narrow")
        await one.runner.limit("narrow", max_concurrency=2)
        await readings(two, 1)
        await asyncio.to_thread(world.fill, "narrow", 20)
        await two.runner.resume("narrow")
        await readings(one, 1)
        await gate.holds(2)
        for process in (one, two):
            await Calls(pytest.MonkeyPatch(), process.store, "claim_due").more(2)
        assert gate.inside == 2
        gate.open()
        await one.runner.join(60)
        await two.runner.join(60)
    assert gate.most_inside == 2
    assert len(gate.left) == 21


async def test_a_changed_rate_limit_holds_when_a_pause_ends(world: World) -> None:
    async with world.process(work, drain_timeout=0) as process:
        await process.runner.pause("work")
        await process.runner.limit("work", rate_limit="4/hour")
        await asyncio.to_thread(world.fill, "work", 20)
        await process.runner.resume("work")
        await process.watcher.until("succeeded", 4)
        await Calls(pytest.MonkeyPatch(), process.store, "claim_due").more(3)
        assert len(world.effects) == 4
        await process.runner.limit("work", rate_limit="9/hour")
        await process.watcher.until("succeeded", 9)
        await Calls(pytest.MonkeyPatch(), process.store, "claim_due").more(3)
        assert len(world.effects) == 9


async def test_paused_tasks_take_no_capacity_and_can_be_cancelled(world: World, gate: Gate) -> None:
    async with world.process(work, other, queue_size=3, max_concurrency=1) as process:
        process.runner.submit(gate.hold)  # takes the only slot, so that nothing is claimed
        await gate.holds(1)
        await process.runner.pause("work")
        ids = []
        for n in range(9):
            ids.append(await process.submit(work, n))
            await polls(process, 1)
        await process.submit(other, 99)
        assert await process.runner.cancel_anywhere(ids[0])
        gate.open()
        await process.watcher.until("succeeded", 2)
        await process.runner.resume("work")
        await process.watcher.until("succeeded", 10)
        await process.assert_everything_is_released()
    assert sorted(world.effects) == [*range(1, 9), 99]


async def test_paused_tasks_stay_queued_and_delay_no_shutdown(world: World, gate: Gate) -> None:
    """This includes a task that was already claimed when the pause began."""

    @task(name="held", durable=True)
    async def held(n: int) -> None:
        await gate.hold(n)

    async with world.process(held, max_concurrency=1, drain_timeout=600) as process:
        process.runner.submit(gate.hold, "in memory")
        await gate.holds(1)
        for _ in range(3):
            process.runner.submit(gate.hold, "in memory")
        await process.submit(held, 1)  # claimed, and queued behind them
        await process.watcher.until("queued", 5)
        await process.runner.pause("held")
        gate.open()
    assert gate.left == ["in memory"] * 4
    assert world.states == ["queued"]
    assert world.run("SELECT attempts FROM background_tasks") == [0]


async def test_a_claimed_task_that_is_paused_blocks_no_other(world: World, gate: Gate) -> None:
    async with world.process(work, other, max_concurrency=1) as process:
        process.runner.submit(gate.hold)
        await gate.holds(1)
        process.runner.submit(gate.hold)
        await process.submit(work, 1)
        await process.watcher.until("queued", 3)
        await process.runner.pause("work")
        await process.submit(other, 2)
        await process.watcher.until("queued", 4)
        gate.open()
        await process.watcher.until("succeeded", 3)
        assert world.effects == [2]
        await process.runner.resume("work")
        await process.runner.join(10)
    assert world.effects == [2, 1]


async def test_nothing_starts_before_the_pauses_have_been_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the pauses fails at the start, while polling the tasks works."""
    async with world.process(work) as process:
        await process.runner.pause("work")
        await process.submit(work, 1)

    read = TaskTypes._read
    away = True

    async def fail(types: TaskTypes) -> None:
        if away:
            raise OSError("away")
        await read(types)

    monkeypatch.setattr(TaskTypes, "_read", fail)
    async with world.process(work, other) as process:
        await polls(process, 3)
        assert world.states == ["queued"]
        away = False
        await process.submit(other, 2)
        await process.watcher.until("succeeded")
        assert type_of(process).paused
    assert world.effects == [2]


@pytest.mark.usefixtures("reads_often")
async def test_a_process_cannot_pause_a_task_that_it_does_not_know(world: World) -> None:
    async with world.process(work) as one, world.process(other) as two:
        with pytest.raises(UnknownTaskError):
            await two.runner.pause("work")
        await one.runner.pause("work")
        await readings(two, 1)
        assert [(t.name, t.paused) for t in two.runner.types()] == [("other", False)]
        assert world.run("SELECT name FROM background_task_types") == ["work"]


@pytest.mark.usefixtures("reads_often")
async def test_concurrent_changes_of_one_task_all_succeed(world: World) -> None:
    async with world.process(work) as one, world.process(work) as two:
        runners = [one.runner, two.runner] * 4
        await asyncio.gather(*(runner.pause("work") for runner in runners))
        await asyncio.gather(*(runner.limit("work", max_concurrency=4) for runner in runners))
        await readings(one, 2)
        await readings(two, 2)
        for process in (one, two):
            assert (type_of(process).paused, type_of(process).max_concurrency) == (True, 4)


async def test_a_pause_holds_beside_a_limit_that_cannot_be_parsed(world: World) -> None:
    """Another release may have written the limit."""
    into = "INSERT INTO background_task_types (name, paused, rate_limit) VALUES (:name, :on, :rate)"
    world.run(into, name="other", on=False, rate="2/fortnight")
    world.run(into, name="work", on=True, rate=None)
    async with world.process(work, other) as process:
        await process.submit(work, 1)
        await process.submit(other, 2)
        await process.watcher.until("succeeded")
        await polls(process, 2)
    assert world.effects == [2]
