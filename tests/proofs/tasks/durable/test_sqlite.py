"""Durable tasks in an SQLite file: locked by another program, read by index, edited by hand."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.tasks import task
from tests.databases.sqlite import SqliteFiles, start
from tests.tasks.gate import Gate

from .calls import Calls
from .world import World, leave_effect


@pytest.fixture
def database_server(tmp_path: Path) -> Iterator[SqliteFiles]:
    with start("", tmp_path) as server:
        yield server


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


async def lock(world: World, over: asyncio.Event, locked: asyncio.Event) -> None:
    """Hold the file's lock until `over` is set, as another program would."""
    loop, path = asyncio.get_running_loop(), world.settings.sync_url.database or ""

    def hold() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            loop.call_soon_threadsafe(locked.set)
            asyncio.run_coroutine_threadsafe(over.wait(), loop).result(30)
            connection.execute("ROLLBACK")

    await asyncio.to_thread(hold)


async def test_tasks_go_on_after_another_program_has_locked_the_file(
    world: World, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    """The lease of a running task ends while the file is locked."""

    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    world.settings = world.settings.model_copy(update={"lock_timeout": 0.2})
    async with world.process(long, work) as process:
        long_id = await process.submit(long)
        await gate.holds(1)
        over, locked = asyncio.Event(), asyncio.Event()
        holder = asyncio.create_task(lock(world, over, locked))
        await locked.wait()
        renewals = Calls(monkeypatch, process.store, "renew")
        with pytest.raises((OperationalError, PoolTimeoutError), match="locked"):
            await process.submit(work, 1)
        await renewals.more(3)
        over.set()
        await holder
        await process.submit(work, 2)
        await process.watcher.until("succeeded")
        gate.open()
        await process.watcher.until("succeeded", 2)
        await process.assert_everything_is_released()
        assert (await process.record(long_id)).attempts == 1
    assert world.effects == [2]


async def test_counts_and_statistics_do_not_scan_the_table(world: World) -> None:
    await world.insert("one", work.name)
    sent: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        sent.append((statement, parameters))

    async with world.process() as process:
        event.listen(Engine, "before_cursor_execute", note)
        await process.store.counts()
        await process.store.statistics()
        event.remove(Engine, "before_cursor_execute", note)
    engine = create_engine(world.settings.sync_url)
    with engine.connect() as connection:
        plans = [
            str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all())
            for statement, parameters in sent
            if "background_tasks" in statement
        ]
    engine.dispose()
    assert len(plans) >= 5
    assert not [plan for plan in plans if "SCAN background_tasks" in plan]


async def test_a_row_whose_position_is_not_a_number_does_not_stop_others(world: World) -> None:
    await world.insert("by hand", work.name, arguments='{"n": 1}', position="first")
    await world.insert("next", work.name, arguments='{"n": 2}')
    async with world.process(work) as process:
        assert await process.watcher.until("succeeded", 2) == ["next", "by hand"]
