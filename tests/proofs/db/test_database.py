"""`Database`: commit or rollback, locks, pools."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import Integer, Select, column, select, table, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import Database, Pool, can_pass
from tests.db.conftest import INCREMENT, READ, TIMEOUT, Counter

LOCK: Select[int] = (
    select(column("value", Integer)).select_from(table("test_db_counter")).with_for_update()
)
WRITE = text("UPDATE test_db_counter SET value = :value")
ENDLESS = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"
    " UPDATE test_db_counter SET value = (SELECT count(*) FROM n)"
)
RUNNING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND state = 'active' AND query LIKE 'WITH RECURSIVE%'"
)


async def test_open_savepoint_is_committed(database: Database, counter: Counter) -> None:
    async with database.session() as session:
        await session.begin_nested()
        await session.execute(INCREMENT)

    assert counter.value == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
async def test_any_exception_rolls_the_session_back(
    database: Database, counter: Counter, error: type[BaseException]
) -> None:
    async def fail() -> None:
        async with database.session() as session:
            await session.execute(INCREMENT)
            raise error

    with pytest.raises(error):
        await fail()

    assert counter.value == 0
    async with database.session() as session:
        await session.execute(INCREMENT)
    assert counter.value == 1


async def test_concurrent_read_modify_write_loses_no_update(counter: Counter) -> None:
    settings = counter.settings.model_copy(update={"lock_timeout": 20.0, "pool_timeout": 20.0})

    async def add(times: int) -> None:
        for _ in range(times):
            async with database.session() as session:
                value = await session.scalar(LOCK) or 0
                await session.execute(WRITE, {"value": value + 1})

    async with Database(settings) as database, asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(add(40))

    assert counter.value == 320


async def until_endless_runs(counter: Counter) -> None:
    """Wait until the statement runs: a server ignores the cancellation of an earlier one."""
    if counter.url.startswith("postgresql"):
        async with asyncio.timeout(10):
            while not (await asyncio.to_thread(counter.run, RUNNING))[0][0]:
                """Poll."""


async def test_cancelled_statement_leaves_no_lock(database: Database, counter: Counter) -> None:
    async def run_long() -> None:
        async with database.session() as session:
            await session.execute(INCREMENT)
            writing.set()
            await session.execute(ENDLESS)

    for _ in range(3):
        writing = asyncio.Event()
        task = asyncio.create_task(run_long())
        async with asyncio.timeout(5):
            await writing.wait()
        await until_endless_runs(counter)
        task.cancel()
        # The traceback keeps its frames alive, as it does when it is logged.
        with pytest.raises(asyncio.CancelledError):
            await task

        async with asyncio.timeout(5), database.session() as session:
            await session.execute(INCREMENT)

    assert counter.value == 3


async def test_writer_cancelled_at_any_point_leaves_no_lock(
    database: Database, counter: Counter
) -> None:
    async def add_one() -> None:
        async with database.session() as session:
            await session.execute(INCREMENT)

    for loop_turns in range(60):
        writers = [asyncio.create_task(add_one()) for _ in range(3)]
        for _ in range(loop_turns):
            await asyncio.sleep(0)  # one turn of the loop
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)

    done = counter.value
    async with asyncio.timeout(5):
        await add_one()
    assert counter.value == done + 1


async def test_timeout_around_a_statement_frees_lock_and_connection(
    database: Database, counter: Counter
) -> None:
    async def expire_soon(limit: asyncio.Timeout) -> None:
        await until_endless_runs(counter)
        limit.reschedule(asyncio.get_running_loop().time() + 0.02)

    async def run_endless() -> None:
        async with asyncio.timeout(10) as limit, database.session() as session:
            ending = asyncio.create_task(expire_soon(limit))
            await session.execute(ENDLESS)
            await ending

    for _ in range(12):  # more often than the pool has connections
        with pytest.raises(TimeoutError):
            await run_endless()

    async with asyncio.timeout(5), database.session() as session:
        await session.execute(INCREMENT)
    assert counter.value == 1


async def test_writer_fails_after_the_lock_timeout(database: Database, counter: Counter) -> None:
    async with counter.locked():
        begin = time.monotonic()
        with pytest.raises(OperationalError, match="lock"):
            async with database.session() as session:
                await session.execute(INCREMENT)
        waited = time.monotonic() - begin

    assert TIMEOUT <= waited < TIMEOUT + 5
    async with database.session() as session:
        await session.execute(INCREMENT)
    assert counter.value == 1


async def test_reader_does_not_wait_for_a_writer(database: Database, counter: Counter) -> None:
    await database.check()  # the first connection sets the mode of the file

    async with counter.locked(), database.session(read_only=True) as session:
        assert await session.scalar(READ) == 0


@pytest.mark.parametrize("lock_timeout", [TIMEOUT, 3600.0])
async def test_check_passes_while_others_write(counter: Counter, lock_timeout: float) -> None:
    """The other connection may be a long migration."""
    settings = counter.settings.model_copy(update={"lock_timeout": lock_timeout})
    async with Database(settings) as database, asyncio.timeout(20):
        await database.check()
        async with counter.locked():
            await database.check()
        async with database.session() as session:
            await session.execute(INCREMENT)
            await asyncio.create_task(database.check())
    assert counter.value == 1


async def test_reader_sees_one_snapshot(database: Database, counter: Counter) -> None:
    async with database.session(read_only=True) as reader:
        assert await reader.scalar(READ) == 0
        async with database.session() as writer:
            await writer.execute(INCREMENT)
        assert await reader.scalar(READ) == 0

    assert counter.value == 1


async def test_reader_cannot_write(database: Database, counter: Counter) -> None:
    with pytest.raises(DBAPIError, match=r"read-?only") as caught:
        async with database.session(read_only=True) as reader:
            await reader.execute(INCREMENT)

    async with database.session() as session:  # the connection is writable again
        await session.execute(INCREMENT)
    assert counter.value == 1
    # The answer is 500, because a retry would fail as well.
    assert not (isinstance(caught.value, OperationalError) and can_pass(caught.value.orig))


async def test_exhausted_pool_raises_after_its_timeout(counter: Counter) -> None:
    settings = counter.settings.model_copy(update={"pool_size": 1})
    async with Database(settings) as database, database.session(read_only=True) as session:
        await session.execute(READ)
        with pytest.raises(PoolTimeoutError):
            async with database.session(read_only=True) as another:
                await another.execute(READ)
        await database.check()  # a busy service is not broken


async def test_requests_and_tasks_do_not_share_connections(counter: Counter) -> None:
    settings = counter.settings.model_copy(update={"pool_size": 2, "task_pool_size": 2})
    async with Database(settings) as database, AsyncExitStack() as stack:
        for pool in (Pool.REQUESTS, Pool.TASKS):
            for _ in range(2):
                taken = await stack.enter_async_context(database.session(pool, read_only=True))
                await taken.execute(READ)

        for pool in (Pool.REQUESTS, Pool.TASKS):
            with pytest.raises(PoolTimeoutError):
                async with database.session(pool, read_only=True) as session:
                    await session.execute(READ)


async def test_close_ends_while_connections_are_being_closed(counter: Counter) -> None:
    """`close_in` closes connections while the database is closing them itself."""
    for loop_turns in range(8):
        async with asyncio.timeout(10), Database(counter.settings) as database:
            async with database.session(read_only=True) as session:
                await session.execute(READ)
            database.close_in(0)
            for _ in range(loop_turns):
                await asyncio.sleep(0)


async def test_foreign_keys_are_checked(database: Database, counter: Counter) -> None:
    counter.run("CREATE TABLE test_db_parent (id INTEGER PRIMARY KEY)")
    counter.run("CREATE TABLE test_db_child (parent_id INTEGER REFERENCES test_db_parent (id))")

    with pytest.raises(Exception, match=r"(?i)foreign key"):
        async with database.session() as session:
            await session.execute(text("INSERT INTO test_db_child VALUES (1)"))


async def test_errors_do_not_contain_statement_parameters(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with database.session() as session:
            await session.execute(text("INSERT INTO nothing VALUES (:a)"), {"a": "hunter2"})

    assert "hunter2" not in str(caught.value)
