"""Durable periodic tasks: each tick runs once, whatever happens to processes and clocks."""

import asyncio
import os
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Float, bindparam

from app.tasks import Task, task
from app.tasks.durable import dialect
from app.tasks.durable.periodic import DurablePeriodicTasks
from tasks.python_path import PYTHONPATH
from tests.tasks.gate import Gate
from tests.tasks.watcher import Watcher

from .world import LONG, World

NOON = 1_800_014_400.0
"""A full hour."""


class Clock:
    """The clock of the table, which a test can set and which then goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        ahead = bindparam(None, callable_=lambda: self._ahead, type_=Float)
        for name in ("_SERVER_TIME", "_MACHINE_TIME"):
            monkeypatch.setattr(dialect, name, getattr(dialect, name) + ahead)

    def set(self, minutes: float) -> None:
        """Set the clock to a number of minutes after noon."""
        self._ahead = NOON + minutes * 60 - time.time()


class Steps:
    """Counts how often each process has updated the ticks in the table."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._counts: Counter[DurablePeriodicTasks] = Counter()
        self._changed = asyncio.Event()
        step = DurablePeriodicTasks._step

        async def counted(periodic: DurablePeriodicTasks) -> None:
            await step(periodic)
            self._counts[periodic] += 1
            self._changed.set()

        monkeypatch.setattr(DurablePeriodicTasks, "_step", counted)

    async def of(self, processes: int, times: int = 2) -> None:
        """Wait until a number of processes have updated their ticks by the present time.

        Each does it `times` times from now on, because the first may have begun before.
        """
        self._counts.clear()
        async with asyncio.timeout(30):
            while sum(count >= times for count in self._counts.values()) < processes:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(monkeypatch)
    clock.set(0.1)
    return clock


@pytest.fixture
async def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def report(schedule: str = "* * * * *", **options: Any) -> Task[[], Any]:
    @task(name="report", durable=True, schedule=schedule, **options)
    async def report() -> None: ...

    return report


def ticks(world: World, state: str = "queued") -> list[float]:
    """Return the ticks in the table that are in a state, in minutes after noon."""
    rows = world.run("SELECT due_at FROM background_tasks WHERE state = :state", state=state)
    return sorted((due_at - NOON) / 60 for due_at in rows)


async def test_four_processes_run_each_tick_of_an_hour_once(
    world: World, clock: Clock, steps: Steps
) -> None:
    watcher, every_four_minutes = Watcher(), report("*/4 * * * *")
    async with AsyncExitStack() as stack:
        for _ in range(4):
            process = world.process(every_four_minutes, watcher=watcher, lease=LONG)
            await stack.enter_async_context(process)
        await steps.of(4)
        assert ticks(world) == [4]
        for number, minute in enumerate(range(4, 61, 4), 1):
            clock.set(minute)
            await watcher.until("succeeded", number)
            await steps.of(4)
    assert ticks(world, "succeeded") == list(range(4, 61, 4))
    assert ticks(world) == [64]
    assert watcher.attempts("started") == [1] * 15


async def test_without_periodic_a_process_adds_no_tick_but_runs_those_of_others(
    world: World, clock: Clock, steps: Steps
) -> None:
    async with world.process(report(), periodic=False) as other:
        await other.runner.join(10)
        assert ticks(world) == []
        async with world.process(report(), claim="none"):
            await steps.of(1)
            clock.set(1)
            await other.watcher.until("succeeded")
    assert ticks(world, "succeeded") == [1]


async def test_a_clock_set_back_repeats_no_tick(world: World, clock: Clock, steps: Steps) -> None:
    watcher = Watcher()
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(world.process(report(), watcher=watcher, lease=LONG))
        await steps.of(2)
        for minute in (1, 2):
            clock.set(minute)
            await watcher.until("succeeded", minute)
            await steps.of(2)
        clock.set(0.5)
        await steps.of(2)
        process = await stack.enter_async_context(
            world.process(report(), watcher=watcher, lease=LONG)
        )
        await steps.of(3)
        clock.set(2.5)
        await steps.of(3)
        await process.runner.join(10)
        assert ticks(world) == [3]
    assert watcher.attempts("started") == [1, 1]
    assert ticks(world, "succeeded") == [1, 2]


async def test_ticks_follow_a_clock_that_is_set_back_by_hours(
    world: World, clock: Clock, steps: Steps
) -> None:
    async with world.process(report()) as process:
        await steps.of(1)
        clock.set(-89.9)
        await steps.of(1)
        clock.set(-89)
        await process.watcher.until("succeeded")
        await steps.of(1)
    assert ticks(world) == [-88, 1]


async def test_one_missed_tick_is_made_up_for_after_all_processes_were_down(
    world: World, clock: Clock, steps: Steps
) -> None:
    async with world.process(report()):
        await steps.of(1)
    clock.set(30.5)
    async with world.process(report()) as process:
        await process.watcher.until("succeeded")
        await steps.of(1)
        await process.assert_everything_is_released()
    assert ticks(world, "succeeded") == [1]
    assert ticks(world) == [31]


async def test_only_one_tick_waits_while_a_run_lasts(
    world: World, clock: Clock, steps: Steps, gate: Gate
) -> None:
    @task(durable=True, schedule=timedelta(minutes=1), max_concurrency=1)
    async def slow() -> None:
        await gate.hold()

    async with world.process(slow, lease=6000) as process:
        await steps.of(1)
        for minute in range(1, 6):
            clock.set(minute)
            await steps.of(1)
            await gate.holds(1)
        assert (ticks(world, "running"), ticks(world)) == ([1], [2, 6])
        gate.open()
        await process.watcher.until("succeeded", 2)
        await process.assert_everything_is_released()
    assert ticks(world) == [6]


@pytest.mark.usefixtures("clock")
async def test_a_changed_schedule_removes_ticks_of_the_old_one(world: World, steps: Steps) -> None:
    for minute in (30, 5, 10):
        async with world.process(report(f"{minute} * * * *")):
            await steps.of(1)
        assert ticks(world) == [minute]


async def test_a_changed_schedule_keeps_a_tick_that_waits_for_its_retry(
    world: World, clock: Clock, steps: Steps
) -> None:
    async with world.process(report()) as process:
        await steps.of(1)
        clock.set(1)
        (task_id,) = await process.watcher.until("succeeded")
    await world.set(task_id, state="queued", finished_at=None, due_at=NOON + 120)
    async with world.process(report("0 * * * *")):
        await steps.of(1)
    assert ticks(world) == [2, 60]


@pytest.mark.usefixtures("clock")
async def test_removing_a_schedule_removes_its_ticks(world: World, steps: Steps) -> None:
    async with world.process(report()):
        await steps.of(1)

    async with world.process(task(name="report", durable=True)(report())):
        await steps.of(1, times=1)
    assert ticks(world) == []


async def test_ticks_of_an_unknown_task_are_kept_for_a_day(
    world: World, clock: Clock, steps: Steps
) -> None:
    async with world.process(report()):
        await steps.of(1)
    other = task(name="other", durable=True, schedule=timedelta(days=1))(report().func)
    for minutes, left in ((1440, [1, 2160]), (1442, [2160])):
        clock.set(minutes)
        async with world.process(other):
            await steps.of(1)
        assert ticks(world) == left


async def test_a_row_with_an_id_like_a_tick_does_not_stop_the_schedule(
    world: World, clock: Clock, steps: Steps
) -> None:
    await world.insert("tick-tock", "other")
    async with world.process(report()):
        clock.set(1)
        await steps.of(1)
    assert 2 in ticks(world)


WORKER = """
import asyncio, os
from datetime import timedelta
from app.tasks import task
from tasks.durable.world import World

@task(name="report", durable=True, schedule=timedelta(seconds=1))
async def report():
    os._exit(77)

async def main():
    async with World(os.environ["DATABASE_URL"]).process(report):
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_tick_whose_process_is_killed_runs_in_another(world: World, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "worker.py", cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "DATABASE_URL": world.url},
    )  # fmt: skip
    async with asyncio.timeout(30):
        assert await killed.wait() == 77
    (tick,) = world.run("SELECT id FROM background_tasks WHERE state = 'running'")
    secondly = task(name="report", durable=True, schedule=timedelta(seconds=1))(report())
    async with world.process(secondly) as process:
        while tick not in await process.watcher.until("succeeded"):
            await process.watcher.until("succeeded", len(process.watcher.ids("succeeded")) + 1)
    runs = Counter(process.watcher.ids("started"))
    assert set(runs.values()) == {1}
    assert process.watcher.attempts("started")[process.watcher.ids("started").index(tick)] == 2
