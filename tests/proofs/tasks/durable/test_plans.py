"""Queries of the table stay cheap however many rows wait in it or have ended."""

import json
import math
import time
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event

from app.tasks import TaskState, task
from app.tasks.durable.limits import DurableLimits

from .world import World

ROWS = 30_000
SQLITE_STEPS, SQLITE_UNIT = 60_000, 100
"""Steps of SQLite's virtual machine: reading all rows before the due ones takes ten times more."""
POSTGRESQL_PAGES = 1500


@task(name="ours", durable=True)
async def ours(n: int) -> None: ...


@task(name="full", durable=True, max_concurrency=1)
async def full(n: int) -> None: ...


@task(name="rated", durable=True, rate_limit="100000/day")
async def rated(n: int) -> None: ...


class Statements:
    """The statements that a call sends to the database, and what they cost."""

    def __init__(self) -> None:
        self._sent: list[tuple[str, Any]] = []

    def __enter__(self) -> "Statements":
        event.listen(Engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "before_cursor_execute", self._note)

    def _note(self, _: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if "background_task" in statement:
            self._sent.append((statement, parameters))

    def assert_cheap(self, world: World) -> None:
        engine = create_engine(world.settings.sync_url)
        on_sqlite = engine.dialect.name == "sqlite"
        with engine.connect() as connection:
            for statement, parameters in self._sent:
                if on_sqlite:
                    assert self._steps(connection, statement, parameters) < SQLITE_STEPS, statement
                else:
                    pages = self._pages(connection, statement, parameters)
                    assert pages < POSTGRESQL_PAGES, statement
        engine.dispose()
        assert self._sent

    @staticmethod
    def _steps(connection: Any, statement: str, parameters: Any) -> int:
        hundreds = 0

        def count() -> None:
            nonlocal hundreds
            hundreds += 1

        connection.connection.driver_connection.set_progress_handler(count, SQLITE_UNIT)
        result = connection.exec_driver_sql(statement, parameters)
        if result.returns_rows:
            result.all()
        connection.rollback()
        return hundreds * SQLITE_UNIT

    @staticmethod
    def _pages(connection: Any, statement: str, parameters: Any) -> int:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
        (plan,) = connection.exec_driver_sql(explain, parameters).scalar_one()
        connection.rollback()
        plan = (plan if isinstance(plan, dict) else json.loads(plan))["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize("known", [False, True])
async def test_a_claim_is_cheap_beside_paused_and_throttled_rows(world: World, known: bool) -> None:
    """They are ahead of the claimed rows; with and without the database's statistics."""
    world.fill("full", ROWS)
    world.run("UPDATE background_tasks SET name = 'paused' WHERE id LIKE '%1' OR id LIKE '%2'")
    world.run("UPDATE background_tasks SET state = 'running', lease_until = 1e11 WHERE id='row-0'")
    world.run("UPDATE background_tasks SET finished_at = 1, state = 'failed' WHERE id LIKE '%7'")
    for n in range(60):
        await world.insert(f"ours-{n}", "ours", arguments=f'{{"n": {n}}}')
    if known:
        world.run("ANALYZE background_tasks")
    async with world.process(retention=math.inf) as process:
        limits = DurableLimits({one.name: one for one in (ours, full)}, 0)
        with Statements() as statements:
            claim = await process.store.claim_due(["ours", "full"], 5, [], limits)
            await process.store.backlog(["ours", "full"], ["ours", "full"], 100)
    assert {record.name for record in claim.tasks} == {"ours"}
    statements.assert_cheap(world)


async def test_a_claim_is_cheap_beside_a_rate_limit_with_many_starts(world: World) -> None:
    world.fill("rated", ROWS, state="succeeded", finished_at=1.0)
    world.run(
        "INSERT INTO background_task_starts (task_id, started_at, name, limit_group)"
        " SELECT id, :now, name, name FROM background_tasks",
        now=time.time(),
    )
    await world.insert("one", "ours", arguments='{"n": 1}')
    async with world.process(retention=math.inf) as process:
        with Statements() as statements:
            limits = DurableLimits({one.name: one for one in (ours, rated)}, 0)
            claim = await process.store.claim_due(["ours", "rated"], 5, [], limits)
    assert [record.name for record in claim.tasks] == ["ours"]
    statements.assert_cheap(world)


async def test_a_page_of_many_ended_rows_is_cheap(world: World) -> None:
    world.fill("full", ROWS, state="failed", finished_at=1.0)
    async with world.process(retention=math.inf) as process:
        with Statements() as statements:
            assert len((await process.store.page(None, "full", None, 5))[0]) == 5
    statements.assert_cheap(world)


async def test_a_page_and_a_count_of_a_rare_task_are_cheap(world: World) -> None:
    world.fill("full", ROWS, state="failed", finished_at=1.0)
    world.run("UPDATE background_tasks SET name = 'rare' WHERE id LIKE '%1234'")
    async with world.process(retention=math.inf) as process:
        with Statements() as statements:
            assert len((await process.store.page(None, "rare", None, 5))[0]) == 3
            assert await process.store.count(TaskState.FAILED, "rare") == 3
    statements.assert_cheap(world)


async def test_renewals_and_ends_of_many_runs_are_cheap(world: World) -> None:
    world.fill("full", ROWS)
    world.run("UPDATE background_tasks SET created_at = CAST(SUBSTR(id, 5) AS FLOAT)")
    runs = {f"row-{n}": float(n) for n in range(1000)}
    async with world.process(retention=math.inf) as process:
        with Statements() as statements:
            assert await process.store.renew(runs, {}) == set()
            await process.store.succeed(runs.items())
            assert await process.store.renew(runs, {}) == runs.keys()
    statements.assert_cheap(world)
