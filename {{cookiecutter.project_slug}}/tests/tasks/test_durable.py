"""Durable tasks: rows of the caller's transaction, which survive the end of a process."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from app.db import Database, DatabaseSettings, Pool
from app.tasks import OutsideTransactionError, Task, TaskRunner, TaskSettings, enqueue, task
from tests.conftest import serve
from tests.databases.server import run
from tests.server import ServerProcess

from . import shop
from .gate import Gate
from .shop import charge, create_shop, happened, lose, pack, restock, ship
from .watcher import Watcher

Start = Callable[..., ServerProcess]


@pytest.fixture
def start(tmp_path: Path, database_url: str) -> Start:
    """Return a function that starts the shop in a process, with leases of one second."""

    def start(**variables: str) -> ServerProcess:
        return ServerProcess(
            tmp_path, "tests.tasks.shop_process:app", ENVIRONMENT="test", DATABASE_URL=database_url,
            SHUTDOWN_DELAY="0", TASKS_LEASE="1", TASKS_SWEEP_INTERVAL="0.2", **variables,
        )  # fmt: skip

    return start


def rows(url: str) -> list[tuple[Any, ...]]:
    """Return name, state and attempts of every task in the table."""
    return [tuple(row) for row in run(url, "SELECT name, state, attempts FROM background_tasks")]


@pytest.mark.usefixtures("settings_env")
async def test_a_killed_process_loses_in_memory_tasks_and_durable_tasks_run_again(
    start: Start, watcher: Watcher, database_url: str
) -> None:
    with start(SHOP_HANGS="yes") as server:
        assert server.post("/test-shop/1").status_code == 202
        server.wait_for_line("packing 1 begins")
        server.wait_for_line("shipping 1 begins")
        server.kill()
        assert server.wait_for_exit() == -signal.SIGKILL
    assert rows(database_url) == [("test_ship", "running", 1)]

    async with serve(create_shop(watcher)):
        await watcher.until("succeeded")
    assert rows(database_url) == [("test_ship", "succeeded", 2)]
    assert happened == ["shipping 1 begins", "shipping 1 is done"]


async def test_a_shutdown_cancels_tasks_that_take_too_long_and_requeues_durable_ones(
    settings_env: pytest.MonkeyPatch,
    watcher: Watcher,
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings_env.setattr(shop, "HANGS", True)
    async with serve(create_shop(watcher)) as app:
        in_memory = app.state.runner.submit(pack, 1)
        await submit(app, ship, 1)
        await watcher.until("started", 2)
    assert f"test_pack ({in_memory})" in caplog.text.partition("were cancelled by the shutdown")[2]
    assert rows(database_url) == [("test_ship", "queued", 0)]


async def test_a_task_that_ends_its_process_every_time_becomes_dead(
    start: Start, settings_env: pytest.MonkeyPatch, watcher: Watcher, database_url: str
) -> None:
    with start() as server:
        task_id = server.post("/test-explosions").json()
        assert server.wait_for_exit() == 77

    settings_env.setenv("TASKS_CRASH_ATTEMPTS", "1")
    settings_env.setattr(shop, "end_process", lambda: None)  # a bug must not end the tests
    async with serve(create_shop(watcher)):
        assert await watcher.until("failed") == [task_id]
    assert rows(database_url) == [("test_explode", "dead", 1)]


async def submit(app: FastAPI, task: Task[[int], Any], n: int, **options: Any) -> str:
    """Submit a task in a transaction of its own."""
    database: Database = app.state.database
    runner: TaskRunner = app.state.runner
    async with database.session():
        return runner.options(**options).submit(task, n)


async def test_a_durable_task_is_part_of_a_transaction(app: FastAPI, watcher: Watcher) -> None:
    database: Database = app.state.database
    with pytest.raises(OutsideTransactionError, match=r"test_ship.*task_session\(\)"):
        app.state.runner.submit(ship, 1)
    async with database.session():
        app.state.runner.submit(ship, 1)
        assert happened == []
    await watcher.until("succeeded")
    assert happened == ["shipping 1 begins", "shipping 1 is done"]


def enqueue_in_a_script(url: str) -> str:
    engine = create_engine(DatabaseSettings(url=url).sync_url)
    with Session(engine) as session:
        task_id = enqueue(session, ship, 1)
        session.commit()
    engine.dispose()
    return task_id


@pytest.mark.usefixtures("app")
async def test_a_script_can_enqueue_a_task(watcher: Watcher, database_url: str) -> None:
    task_id = await asyncio.to_thread(enqueue_in_a_script, database_url)
    assert await watcher.until("succeeded") == [task_id]


@asynccontextmanager
async def open_process(url: str, *tasks: Task[..., Any]) -> AsyncIterator[TaskRunner]:
    """Open a runner with a database pool of its own, in place of a process."""
    settings = TaskSettings(sweep_interval=0.1)
    async with Database(DatabaseSettings(url=url)) as database:
        sessions = partial(database.session, Pool.TASK_STORE)
        async with TaskRunner(settings, tasks=tasks, sessions=sessions) as runner:
            yield runner


async def test_limits_hold_over_all_processes(database_url: str, gate: Gate) -> None:
    polled = Gate()
    polled.open()

    @task(durable=True, max_concurrency=1)
    async def narrow(n: int) -> None:
        await gate.hold(n)

    @task(durable=True)
    async def only_first() -> None:
        await polled.hold()

    @task(durable=True)
    async def only_second() -> None:
        await polled.hold()

    process = partial(open_process, database_url, narrow)
    async with (
        Database(DatabaseSettings(url=database_url)) as database,
        process(only_first) as first,
        process(only_second) as second,
    ):
        async with database.session():
            for n in range(6):
                first.submit(narrow, n)
        await gate.holds(1)
        async with database.session():  # once these have run, both processes have polled
            first.submit(only_first)
            second.submit(only_second)
        await polled.holds(2)
        gate.open()
        await first.join(10)
        await second.join(10)
    assert (len(gate.left), gate.most_inside) == (6, 1)


async def test_on_failure_runs_once_when_a_task_has_failed_for_good(
    app: FastAPI, watcher: Watcher, runner: TaskRunner
) -> None:
    await submit(app, lose, 7)
    await runner.join(10)
    assert watcher.attempts("started") == [1, 2, 1]
    assert happened == ["test_lose {'order': 7} failed: LookupError: 7"]


async def test_a_retry_has_the_same_id_and_tasks_of_the_failed_attempt_are_rolled_back(
    app: FastAPI, watcher: Watcher
) -> None:
    task_id = await submit(app, restock, 1)
    await watcher.until("succeeded", 2)
    assert happened[:2] == [f"restocking in {task_id}"] * 2  # the first attempt submits nothing
    assert happened[2:] == ["shipping 1 begins", "shipping 1 is done"]


async def test_a_step_runs_once_over_all_attempts_and_commits_with_its_result(
    app: FastAPI, watcher: Watcher
) -> None:
    await submit(app, charge, 7)
    await watcher.until("succeeded", 2)
    assert happened.count("booking 7") == 1
    assert happened.count("shipping 7 is done") == 1
    assert "parcel 1007 is paid" in happened


async def test_twenty_submissions_with_one_key_are_one_row(
    app: FastAPI, watcher: Watcher, database_url: str
) -> None:
    (task_id,) = {await submit(app, ship, n, key="one", delay=60) for n in range(20)}
    assert rows(database_url) == [("test_ship", "queued", 0)]
    await asyncio.to_thread(run, database_url, "UPDATE background_tasks SET due_at = 0")
    assert await watcher.until("succeeded") == [task_id]


async def test_an_unknown_task_stays_in_the_table_for_another_version(
    app: FastAPI, watcher: Watcher, database_url: str
) -> None:
    new, known = [await submit(app, ship, n, delay=60) for n in (1, 2)]
    rename = "UPDATE background_tasks SET name = 'of_next_version' WHERE id = :id"
    await asyncio.to_thread(partial(run, database_url, rename, id=new))
    await asyncio.to_thread(run, database_url, "UPDATE background_tasks SET due_at = 0")
    assert await watcher.until("succeeded") == [known]
    assert sorted(rows(database_url)) == [
        ("of_next_version", "queued", 0),
        ("test_ship", "succeeded", 1),
    ]


@task(name="test_digest", durable=True, schedule=timedelta(seconds=1))
async def digest() -> None: ...


async def test_a_periodic_task_runs_once_per_tick_over_all_processes(
    app: FastAPI, watcher: Watcher
) -> None:
    sessions = partial(app.state.database.session, Pool.TASK_STORE)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            settings = TaskSettings(periodic=True)
            process = TaskRunner(settings, [watcher], tasks=[digest], sessions=sessions)
            await stack.enter_async_context(process)
        await watcher.until("succeeded", 2)
    started = watcher.ids("started")
    assert len(set(started)) == len(started)
