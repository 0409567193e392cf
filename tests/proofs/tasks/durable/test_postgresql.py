"""Durable tasks on a PostgreSQL server: concurrency, lost connections, restarts, NOTIFY."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, insert, select
from sqlalchemy.exc import DBAPIError, OperationalError

from app.db import Database, DatabaseSettings
from app.tasks import Retry, TaskState, enqueue, step, task
from app.tasks.durable.dialect import lock_claims
from app.tasks.durable.limits import DurableLimits
from app.tasks.durable.store import TaskStore
from app.tasks.durable.table import steps, tasks
from tests.databases.cluster import Cluster
from tests.databases.postgresql import PostgresqlServer
from tests.tasks.gate import Gate

from .calls import Calls
from .world import LONG, RARE_POLLS, World, leave_effect

ROWS = 400
UPDATE = "UPDATE background_tasks SET"
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def database_server(cluster: Cluster) -> PostgresqlServer:
    return PostgresqlServer(cluster.url)


@task(durable=True, retry=Retry(attempts=20, on=(OperationalError,), delay=0.0))
async def work(n: int) -> None:
    await leave_effect(n)


@task(durable=True)
async def fail() -> None:
    raise ValueError


@task(durable=True)
def few() -> None:
    """Do nothing, in a thread."""


@task(durable=True)
async def order(n: int) -> None:
    await step("one", leave_effect, n)


async def test_a_key_used_while_its_task_ends_runs_its_steps_again(world: World) -> None:
    async with world.process(order, sweep_interval=60, lease=240) as process:
        await process.submit(order, 1, key="same")
        await process.watcher.until("succeeded")
        await asyncio.to_thread(world.run, f"{UPDATE} state = 'running', finished_at = NULL")

        def end(_: object, __: object, statement: str, *___: object) -> None:
            if statement.startswith("INSERT INTO background_tasks "):
                world.run(f"{UPDATE} state = 'succeeded', finished_at = 1")

        async with process.database.session() as session:
            event.listen(session.get_bind(), "before_cursor_execute", end)
            process.runner.options(key="same").submit(order, 2)
        await process.watcher.until("succeeded", 2)
    assert world.effects == [1, 2]


async def test_a_step_blocks_neither_its_key_nor_its_lease(world: World, gate: Gate) -> None:
    """Otherwise two transactions could deadlock."""

    @task(durable=True)
    async def held(n: int) -> None:
        await gate.hold(n)

    async with world.process(held) as process:
        task_id = await process.submit(held, 1, key="same")
        await gate.holds(1)
        async with process.database.session() as session:
            values = {"task_id": task_id, "name": "one", "result": "1"}
            await session.execute(insert(steps).values(values))
            async with asyncio.timeout(3):
                await process.submit(held, 2, key="same")
                await process.store.renew({task_id: 0.0}, {})
        gate.open()


async def test_concurrent_claims_never_take_the_same_row(world: World) -> None:
    """Nor does a claim exceed its own limit or that of the threads."""
    world.fill("work", ROWS)
    world.run("UPDATE background_tasks SET name = 'few' WHERE id LIKE '%7'")
    claimed: list[str] = []

    async def claim_all(store: TaskStore) -> None:
        while True:
            limits = DurableLimits({"few": few, "work": work}, threads=2)
            claim = await store.claim_due(["work", "few"], 5, [], limits)
            records = claim.tasks
            assert len(records) <= 5
            assert sum(record.name == "few" for record in records) <= 2
            if not records and (await store.backlog(["work", "few"], [], 10))[0] == 0:
                return
            claimed.extend(record.id for record in records)

    async with world.process(lease=60) as process, asyncio.TaskGroup() as group:
        for n in range(4):
            store = TaskStore(process.database.session, f"owner {n}", 60)
            group.create_task(claim_all(store))

    assert sorted(claimed) == sorted(f"row-{n}" for n in range(ROWS))


async def test_a_locked_row_does_not_block_other_tasks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine lost during a claim keeps its locks until the server notices."""
    await world.insert("locked", work.name, arguments='{"n": 1}')
    async with Database(world.settings) as database, AsyncExitStack() as stack:
        session = await stack.enter_async_context(database.session())
        await session.execute(select(tasks.c.id).with_for_update())
        async with world.process(work, **RARE_POLLS) as process:
            claims = Calls(monkeypatch, process.store, "claim_due")
            await process.submit(work, 2)
            await process.watcher.until("succeeded")
            began = time.monotonic()
            await claims.more(4)  # the locked row must not cause a busy loop of claims
            assert time.monotonic() - began > 0.4
            await stack.aclose()
            await process.watcher.until("succeeded", 2)
    assert world.effects == [2, 1]


async def test_a_process_frozen_during_a_claim_blocks_others_only_for_seconds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task(durable=True, max_concurrency=1)
    async def limited(n: int) -> None:
        await leave_effect(n)

    monkeypatch.setattr("app.tasks.durable.dialect._IDLE_TIMEOUT", "1s")
    async with Database(world.settings) as database, world.process(limited) as process:
        with pytest.raises(DBAPIError, match="idle-in"):  # noqa: PT012 - the end of the block raises
            async with database.session() as session:
                await lock_claims(session)
                await process.submit(limited, 1)
                await process.watcher.until("succeeded")
    assert world.effects == [1]


async def test_a_locked_row_blocks_neither_leases_nor_ends_of_other_rows(
    world: World, gate: Gate
) -> None:
    @task(durable=True)
    async def held(n: int) -> None:
        await gate.hold(n)

    world.settings = DatabaseSettings(url=world.url, lock_timeout=1.0)
    async with world.process(held, lease=LONG) as process:
        ids = [await process.submit(held, n) for n in range(3)]
        await gate.holds(3)
        runs = {task_id: (await process.record(task_id)).created_at for task_id in ids}
        leases = "SELECT lease_until FROM background_tasks ORDER BY created_at"
        async with process.database.session() as session:
            await session.execute(select(tasks.c.id).where(tasks.c.id == ids[0]).with_for_update())
            before = world.run(leases)
            assert await process.store.renew(runs, {}) == set()
            renewed = [new > old for new, old in zip(world.run(leases), before, strict=True)]
            assert renewed == [False, True, True]
            gate.open()
            assert set(await process.watcher.until("succeeded", 2)) == set(ids[1:])
        await process.watcher.until("succeeded", 3)


async def test_concurrent_renewals_and_ends_do_not_deadlock(world: World) -> None:
    world.fill("work", ROWS)
    chance = random.Random(0)  # noqa: S311 - nothing secret
    async with world.process(lease=60) as process:
        store = TaskStore(process.database.session, "owner", 60)
        claim = await store.claim_due(["work"], ROWS, [], DurableLimits({"work": work}, 0))
        runs = {record.id: record.created_at for record in claim.tasks}
        ended: dict[str, float] = {}

        async def change() -> None:
            for n in range(20):
                sample = dict(chance.sample(list(runs.items()), ROWS if n % 2 else ROWS // 20))
                if n % 2:
                    await store.renew(sample, {})
                else:
                    ended.update(sample)
                    await store.succeed(list(sample.items()))

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(change())

        assert await store.renew(runs, {}) == ended.keys()


async def test_terminated_connections_lose_no_task(world: World) -> None:
    async with world.process(work, lease=1) as process:
        for n in range(60):
            try:
                await process.submit(work, n)
            except OperationalError:  # it may or may not have been committed
                await process.submit(work, n)
            if n % 10 == 0:
                await asyncio.to_thread(world.run, TERMINATE)
        async with asyncio.timeout(60):
            while await process.store.counts() != {TaskState.SUCCEEDED: len(world.states)}:
                pass
        await process.assert_everything_is_released()
    assert set(world.effects) == set(range(60))


async def test_a_server_restart_loses_no_task(
    world: World, cluster: Cluster, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running tasks go on meanwhile, and accepted ones run when the server is back."""

    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long, work, lease=20) as process:
        await process.submit(long)
        await gate.holds(1)
        await process.submit(work, 1, delay=0.5)
        polls = Calls(monkeypatch, process.store, "claim_due")
        await asyncio.to_thread(cluster.stop)
        try:
            await polls.more(2)
            with pytest.raises(OperationalError):
                await process.submit(work, 2)
        finally:
            await asyncio.to_thread(cluster.start)
        await process.watcher.until("succeeded")
        gate.open()
        await process.watcher.until("succeeded", 2)
        await process.submit(work, 3)
        await process.watcher.until("succeeded", 3)
        await process.assert_everything_is_released()
    assert world.effects == [1, 3]
    assert set(world.states) == {"succeeded"}


async def test_nul_and_surrogate_characters_do_no_harm(world: World) -> None:
    """In arguments, in errors and in ids."""
    seen: list[str] = []

    @task(durable=True)
    async def tell(text: str) -> None:
        seen.append(text)
        raise ValueError(f"no \0 {text} \ud800")

    async with world.process(tell) as process:
        task_id = await process.submit(tell, "a\0b")
        await process.watcher.until("failed")
        await process.assert_everything_is_released()
        record = await process.record(task_id)
        assert await process.store.get("\0") is None
        assert await process.store.get("\ud800") is None
        assert await process.runner.cancel_anywhere("\0") is False
        assert await process.store.retry("\0") == 0
    assert seen == ["a\0b"]
    assert (record.state, record.attempts) == (TaskState.FAILED, 1)
    assert record.error is not None
    assert record.error.startswith("ValueError: no ? a?b")


async def test_timestamps_are_exact(world: World) -> None:
    timestamp = time.time()
    await world.insert("it", "unknown", due_at=timestamp, timeout=math.inf)
    async with world.process() as process:
        record = await process.record("it")
    assert (record.due_at, record.timeout) == (timestamp, math.inf)


# NOTIFY wakes other processes at once: in these tests polls are a minute apart.


class Wakes:
    """Counts how often processes were woken by another process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._changed = asyncio.Event()
        self._listen = Database.wake_ups
        wake_ups = property(lambda database: partial(self._counted, database))
        monkeypatch.setattr(Database, "wake_ups", wake_ups)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while self.count < count:
                self._changed.clear()
                await self._changed.wait()

    async def _counted(self, database: Database) -> AsyncIterator[None]:
        listen = self._listen.__get__(database)
        async for _ in listen():
            yield
            self.count += 1
            self._changed.set()


@pytest.fixture
async def wakes(monkeypatch: pytest.MonkeyPatch) -> Wakes:
    return Wakes(monkeypatch)


async def test_a_commit_wakes_other_processes_and_not_its_own(world: World, wakes: Wakes) -> None:
    async with (
        world.process(work, **RARE_POLLS) as worker,
        world.process(work, claim="none", **RARE_POLLS) as web,
    ):
        await wakes.until(1)  # it listens
        await worker.submit(work, 1)
        await worker.submit(work, 2)
        await worker.watcher.until("succeeded", 2)
        await web.submit(work, 3)
        await worker.watcher.until("succeeded", 3)
        assert wakes.count == 2
    assert world.effects == [1, 2, 3]


async def test_a_broken_connection_does_not_end_listening(
    world: World, wakes: Wakes, caplog: pytest.LogCaptureFixture
) -> None:
    """Although something still refers to the connection, such as a traceback."""
    async with (
        world.process(work, **RARE_POLLS) as worker,
        world.process(work, claim="none", **RARE_POLLS) as web,
    ):
        await wakes.until(1)  # it listens
        async with worker.database.session() as session:
            connection = await session.connection()
            broken: Any = (await connection.get_raw_connection()).driver_connection
            await session.invalidate()
        await web.submit(work, 1)
        await worker.watcher.until("succeeded")
        assert broken.closed
    assert "failed" not in caplog.text


async def test_a_task_notified_while_all_slots_are_taken_starts_in_the_first_free_one(
    world: World, wakes: Wakes, gate: Gate
) -> None:
    async with (
        world.process(work, **RARE_POLLS) as worker,
        world.process(work, claim="none", **RARE_POLLS) as web,
    ):
        worker.runner.submit(gate.hold)
        await gate.holds(1)
        await wakes.until(1)  # it listens
        assert worker.runner._poller is not None
        poll = asyncio.create_task(worker.runner._poller.loop.stepped.wait())
        await web.submit(work, 1)
        await wakes.until(2)
        await poll
        gate.open()
        await worker.watcher.until("succeeded", 2)


async def test_enqueue_and_a_manual_retry_wake_other_processes(world: World) -> None:
    async with (
        world.process(fail, work, **RARE_POLLS) as worker,
        world.process(fail, claim="none", **RARE_POLLS) as web,
    ):
        async with Database(world.settings) as database, database.session() as session:
            task_id = enqueue(session, fail)
        await worker.watcher.until("failed")
        assert await web.runner.retry_durable(task_id)
        await worker.watcher.until("failed", 2)


async def test_a_retry_that_is_due_at_once_wakes_other_processes(
    world: World, wakes: Wakes
) -> None:
    @task(durable=True, retry=Retry(attempts=2, delay=0.0))
    async def flaky() -> None:
        raise ValueError

    async with (
        world.process(flaky, **RARE_POLLS) as process,
        world.process(work, **RARE_POLLS),
    ):
        await wakes.until(2)  # both listen
        await process.submit(flaky)
        await wakes.until(4)


async def test_a_task_cut_off_by_shutdown_runs_elsewhere_at_once(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(
            world.process(long, drain_timeout=0, **RARE_POLLS)
        )
        task_id = await process.submit(long)
        await gate.holds(1)
        async with world.process(long, **RARE_POLLS) as other:
            assert other.runner._poller is not None
            await other.runner._poller.loop.stepped.wait()
            await stack.aclose()
            await gate.holds(2)
            gate.open()
            assert await other.watcher.until("succeeded") == [task_id]


async def test_a_process_listens_again_after_a_server_restart(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.tasks.durable.poller._LISTEN_PAUSE", 0.1)
    async with (
        world.process(work, **RARE_POLLS) as worker,
        world.process(work, claim="none", **RARE_POLLS) as web,
    ):
        await asyncio.to_thread(cluster.stop)
        await asyncio.to_thread(cluster.start)
        for n in (1, 2):  # the first may be found by the poll when listening begins
            await web.submit(work, n)
            await worker.watcher.until("succeeded", n)
    assert world.effects == [1, 2]
