"""`Database`: commit or rollback, locks, pools."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import Database, Pool

from .conftest import TIMEOUT, File

INCREMENT = text("UPDATE counter SET value = value + 1")
READ = text("SELECT value FROM counter")
WRITE = text("UPDATE counter SET value = :value")
ENDLESS = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000000)"
    " UPDATE counter SET value = (SELECT count(*) FROM n)"
)


async def test_commit_at_the_end(database: Database, file: File) -> None:
    async with database.session() as session:
        await session.execute(INCREMENT)
        assert file.value == 0

    assert file.value == 1


async def test_a_savepoint_that_was_left_open_counts(database: Database, file: File) -> None:
    async with database.session() as session:
        await session.begin_nested()
        await session.execute(INCREMENT)

    assert file.value == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
async def test_rollback_when_anything_is_raised(
    database: Database, file: File, error: type[BaseException]
) -> None:
    async def fail() -> None:
        async with database.session() as session:
            await session.execute(INCREMENT)
            raise error

    with pytest.raises(error):
        await fail()

    assert file.value == 0
    async with database.session() as session:
        await session.execute(INCREMENT)
    assert file.value == 1


async def test_concurrent_read_modify_write_loses_nothing(file: File) -> None:
    settings = file.settings.model_copy(update={"lock_timeout": 20.0, "pool_timeout": 20.0})

    async def add(times: int) -> None:
        for _ in range(times):
            async with database.session() as session:
                value = await session.scalar(READ)
                await session.execute(WRITE, {"value": value + 1})

    async with Database(settings) as database, asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(add(40))

    assert file.value == 320


async def test_a_cancelled_statement_does_not_leave_the_file_locked(
    database: Database, file: File
) -> None:
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
        task.cancel()
        # The traceback keeps everything alive that it went through, as it does in a log.
        with pytest.raises(asyncio.CancelledError):
            await task

        async with asyncio.timeout(5), database.session() as session:
            await session.execute(INCREMENT)

    assert file.value == 3


async def test_a_writer_cancelled_at_any_moment_leaves_no_lock(
    database: Database, file: File
) -> None:
    async def add_one() -> None:
        async with database.session() as session:
            await session.execute(INCREMENT)

    for turns in range(60):
        writers = [asyncio.create_task(add_one()) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)  # one turn of the loop
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)

    done = file.value
    async with asyncio.timeout(5):
        await add_one()
    assert file.value == done + 1


async def test_a_timeout_around_a_statement_frees_everything(
    database: Database, file: File
) -> None:
    for _ in range(12):  # more often than the pool has connections
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), database.session() as session:
                await session.execute(ENDLESS)

    async with asyncio.timeout(5), database.session() as session:
        await session.execute(INCREMENT)
    assert file.value == 1


async def test_a_writer_waits_for_the_lock_only_so_long(database: Database, file: File) -> None:
    async with file.locked():
        begin = time.monotonic()
        with pytest.raises(OperationalError, match="locked"):
            async with database.session() as session:
                await session.execute(INCREMENT)
        waited = time.monotonic() - begin

    assert TIMEOUT <= waited < TIMEOUT + 5
    async with database.session() as session:
        await session.execute(INCREMENT)
    assert file.value == 1


async def test_the_first_connection_beside_a_writer(database: Database, file: File) -> None:
    async with file.locked(), database.session(read_only=True) as session:
        assert await session.scalar(READ) == 0
        assert await session.scalar(text("PRAGMA journal_mode")) == "delete"

    async with database.session(Pool.TASKS) as session:
        assert await session.scalar(text("PRAGMA journal_mode")) == "wal"
        await session.execute(INCREMENT)
    async with database.session() as session:
        await session.execute(INCREMENT)
    assert file.value == 2


async def test_a_reader_does_not_wait_for_a_writer(database: Database, file: File) -> None:
    await database.ping()  # the first connection sets the mode of the file

    async with file.locked(), database.session(read_only=True) as session:
        assert await session.scalar(READ) == 0


async def test_a_reader_sees_one_state(database: Database, file: File) -> None:
    async with database.session(read_only=True) as reader:
        assert await reader.scalar(READ) == 0
        async with database.session() as writer:
            await writer.execute(INCREMENT)
        assert await reader.scalar(READ) == 0

    assert file.value == 1


async def test_an_exhausted_pool_is_told_in_time(file: File) -> None:
    settings = file.settings.model_copy(update={"pool_size": 1})
    async with Database(settings) as database, database.session(read_only=True) as session:
        await session.execute(READ)
        with pytest.raises(PoolTimeoutError):
            await database.ping()


async def test_requests_and_tasks_do_not_share_connections(file: File) -> None:
    settings = file.settings.model_copy(update={"pool_size": 2, "task_pool_size": 2})
    async with Database(settings) as database, AsyncExitStack() as stack:
        for pool in (Pool.REQUESTS, Pool.TASKS):
            for _ in range(2):
                taken = await stack.enter_async_context(database.session(pool, read_only=True))
                await taken.execute(READ)

        for pool in (Pool.REQUESTS, Pool.TASKS):
            with pytest.raises(PoolTimeoutError):
                async with database.session(pool, read_only=True) as session:
                    await session.execute(READ)


async def test_foreign_keys_are_checked(database: Database, file: File) -> None:
    file.run("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    file.run("CREATE TABLE child (parent_id INTEGER REFERENCES parent (id))")

    with pytest.raises(Exception, match="FOREIGN KEY"):
        async with database.session() as session:
            await session.execute(text("INSERT INTO child VALUES (1)"))


async def test_parameters_are_not_in_errors(database: Database) -> None:
    with pytest.raises(OperationalError) as caught:
        async with database.session() as session:
            await session.execute(text("INSERT INTO nothing VALUES (:a)"), {"a": "hunter2"})

    assert "hunter2" not in str(caught.value)


async def test_the_folder_of_the_file_is_made(file: File) -> None:
    url = f"sqlite:///{file.path.parent}/new/folder with 100% space/app.db"

    async with Database(file.settings.model_copy(update={"url": url})) as database:
        await database.ping()

    assert (file.path.parent / "new" / "folder with 100% space" / "app.db").exists()


async def test_a_writer_does_not_wait_in_line_for_ever(database: Database, file: File) -> None:
    async with database.session() as session:
        await session.execute(INCREMENT)
        with pytest.raises(PoolTimeoutError, match="locked by another writer"):
            async with database.session(Pool.TASKS) as other:
                await other.execute(INCREMENT)

    assert file.value == 1
