"""The table: order, delays, pruning, counts, and the migration that creates it."""

import asyncio
import json
import math
import time
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Self

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from app.db import DatabaseSettings
from app.db.migrate import migrate
from app.tasks import Priority, TaskState, TaskStore, task
from app.tasks.durable import metadata
from app.tasks.durable.store import MAX_ROWS
from tests.tasks.gate import Gate

from .calls import Calls
from .world import LONG, World, leave_effect


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


async def insert(
    world: World, n: int, *, priority: int = 5, age: float = 0.0, aging: float = 10
) -> None:
    arguments, due_at = json.dumps({"n": n}), time.time() - age
    position = due_at + priority * min(aging, 1e10)
    values = {"arguments": arguments, "priority": priority, "due_at": due_at, "position": position}
    await world.insert(f"row-{n}", work.name, **values)


class TestOrder:
    async def test_aging_lets_older_rows_overtake_more_urgent_ones(self, world: World) -> None:
        """With an aging of 10 s, LOW is 20 s behind NORMAL, and HIGH 20 s ahead of it."""
        await insert(world, 1, priority=Priority.LOW, age=19)
        await insert(world, 2, priority=Priority.NORMAL, age=0)
        await insert(world, 3, priority=Priority.HIGH, age=0)
        await insert(world, 4, priority=Priority.IDLE, age=61)
        await insert(world, 5, priority=Priority.NORMAL, age=5)
        async with world.process(work, max_concurrency=1, aging=10) as process:
            await process.watcher.until("succeeded", 5)
        assert world.effects == [4, 3, 5, 2, 1]

    async def test_infinite_aging_is_strict_priority(self, world: World) -> None:
        await insert(world, 1, priority=Priority.LOW, age=1000, aging=math.inf)
        await insert(world, 2, priority=Priority.URGENT, aging=math.inf)
        await insert(world, 3, priority=Priority.LOW, age=2000, aging=math.inf)
        async with world.process(work, max_concurrency=1, aging=math.inf) as process:
            await process.watcher.until("succeeded", 3)
        assert world.effects == [2, 3, 1]

    async def test_a_durable_task_takes_its_turn_among_in_memory_ones(
        self, world: World, gate: Gate
    ) -> None:
        order: list[str] = []

        async def plain(label: str) -> None:
            order.append(label)

        @task(durable=True)
        async def durable(label: str) -> None:
            order.append(label)

        async with world.process(durable, max_concurrency=1, aging=math.inf) as process:
            process.runner.submit(gate.hold)
            await gate.holds(1)
            for n in range(3):
                process.runner.submit(plain, f"plain {n}")
            await process.submit(durable, "urgent", priority=Priority.URGENT)
            await process.watcher.until("queued", 5)
            gate.open()
            await process.watcher.until("succeeded", 5)
        assert order == ["urgent", "plain 0", "plain 1", "plain 2"]


class TestDelay:
    async def test_a_delayed_task_waits_in_the_table(self, world: World) -> None:
        async with world.process(work) as process:
            later = await process.submit(work, 1, delay=3600)
            await process.submit(work, 2)
            await process.watcher.until("succeeded")
            await process.assert_everything_is_released()
            record = await process.record(later)
        assert record.state is TaskState.QUEUED
        assert record.due_at - record.created_at == pytest.approx(3600)

    async def test_a_delayed_task_starts_on_time(self, world: World) -> None:
        async with world.process(work, lease=240, sweep_interval=60) as process:  # rare polls
            await process.submit(work, 3, delay=0.3)
            await process.submit(work, 2, delay=0.2)
            start = time.monotonic()
            await process.watcher.until("succeeded", 2)
            assert time.monotonic() - start < 30
        async with world.process(work, lease=240, sweep_interval=60) as process:
            await process.submit(work, 4, delay=1)
        async with world.process(work, lease=240, sweep_interval=60) as process:
            await process.watcher.until("succeeded")
        assert sorted(world.effects) == [2, 3, 4]
        due = world.run("SELECT started_at >= due_at FROM background_tasks")
        assert due == [1, 1, 1]

    async def test_a_long_transaction_does_not_make_a_task_late(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class AnHourLater(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return super().now(tz) + timedelta(hours=1)

        at = datetime.now(UTC) + timedelta(hours=3)
        async with world.process(work, claim="none") as process, process.database.session():
            process.runner.options(at=at).submit(work, 1)
            monkeypatch.setattr("app.tasks.options.datetime", AnHourLater)
        delay = world.run("SELECT due_at - created_at FROM background_tasks")
        assert delay == [pytest.approx(2 * 3600, abs=60)]


class TestPruning:
    async def test_rows_that_ended_before_the_retention_are_deleted(self, world: World) -> None:
        ended = partial(world.insert, name=work.name, state="succeeded")
        await ended("old", finished_at=time.time() - 61)
        await ended("young", finished_at=time.time() - 30)
        await world.insert("open", "unknown", created_at=0.0, due_at=0.0)
        async with world.process(work, retention=60) as process:
            await process.submit(work, 1)
            await process.watcher.until("succeeded")
            async with asyncio.timeout(30):
                while await process.store.get("old") is not None:
                    pass
            assert await process.store.prune(60) == 0
        assert set(world.run("SELECT id FROM background_tasks")) >= {"young", "open"}

    async def test_many_rows_are_deleted_in_batches(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.fill("x", 2 * MAX_ROWS + 1, state="failed", finished_at=0.0)
        async with world.process(work, lease=LONG) as process:  # the next batch follows at once
            prunes = Calls(monkeypatch, process.store, "prune")
            await prunes.more(3)
            assert await process.store.counts() == {}

    async def test_infinite_retention_deletes_nothing(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await world.insert("old", work.name, state="succeeded", finished_at=1.0)
        monkeypatch.setenv("TASKS_RETENTION", "inf")
        async with world.process(work) as process:
            prunes = Calls(monkeypatch, process.store, "prune")
            await process.submit(work, 1)
            await process.watcher.until("succeeded")
            await Calls(monkeypatch, process.store, "claim_due").more(3)
            assert prunes.count == 0
            assert (await process.record("old")).state is TaskState.SUCCEEDED


class TestNumbers:
    async def test_counts_have_a_limit(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(TaskStore, "COUNTED", 3)
        monkeypatch.setattr(TaskStore, "SAMPLED", 4)
        async with world.process() as process:
            assert await process.store.counts() == {}
            for n in range(10):
                state = ("queued", "paused")[n // 5]
                await world.insert(f"row-{n}", f"task-{n % 5 // 2}", state=state, due_at=float(n))
            counts = await process.store.counts()
            numbers, _ = await process.store.statistics()
        assert counts == {"queued": 3, "paused": 3}
        assert numbers == {
            (f"task-{n}", state): (1, 2, 1)[n] for n in range(3) for state in ("queued", "paused")
        }

    async def test_statistics_say_how_long_the_oldest_task_has_been_due(self, world: World) -> None:
        now = time.time()
        async with world.process() as process:
            for name, row in {
                "ended": {"state": "dead", "due_at": now - 500},
                "runs": {"state": "running", "due_at": now - 400, "lease_until": now + 500},
                "later": {"state": "queued", "due_at": now + 500},
            }.items():
                await world.insert(name, work.name, **row)
            assert (await process.store.statistics())[1] == 0
            await world.insert("due", work.name, due_at=now - 100)
            first = (await process.store.statistics())[1]
            lost = {"state": "running", "due_at": now - 200, "lease_until": now - 10}
            await world.insert("lost", work.name, **lost)
            second = (await process.store.statistics())[1]
        assert 99 < first < 190
        assert 199 < second < 290


async def test_options_of_a_call_are_stored_in_the_row(world: World) -> None:
    seen: list[float] = []

    async with world.process(work, max_concurrency=1) as process:
        process.runner._poller.stop_claiming()  # type: ignore[union-attr]  # it has started
        await process.submit(work, 1, timeout=math.inf, priority=Priority.LOW)
        await process.submit(work, 2, timeout=7.5)
    async with world.process(work) as process:
        await process.watcher.until("succeeded", 2)
        records = await process.store.recent([TaskState.SUCCEEDED], 5)
        seen = [record.timeout or 0 for record in records]
    assert sorted(seen) == [7.5, 1e10]  # 300 years instead of inf
    assert sorted(record.priority for record in records) == [5, 7]


def test_the_migration_creates_the_tables(empty_database_url: str) -> None:
    settings = DatabaseSettings(url=empty_database_url)
    migrate(settings)
    engine = create_engine(settings.sync_url)
    options = {"include_name": lambda name, kind, _: kind != "table" or name in metadata.tables}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={**options, "compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_tasks_behind_many_throttled_ones_start_at_once(world: World, gate: Gate) -> None:
    """Polls are a minute apart, and the tasks at the front may only run one at a time."""

    @task(durable=True, max_concurrency=1)
    async def held(n: int) -> None:
        await gate.hold(n)

    world.fill(held.name, 100)
    for n in range(100, 105):
        await insert(world, n)
    async with world.process(
        held, work, max_concurrency=3, sweep_interval=60, lease=240, drain_timeout=0.05
    ) as process:
        await process.watcher.until("succeeded", 5)
        assert len(process.watcher.ids("started")) == 6
        assert world.states.count("running") == 1
