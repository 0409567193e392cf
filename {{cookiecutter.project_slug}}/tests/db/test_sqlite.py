"""What is SQLite's own: one writer, one file, and the URLs that lead to it."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import Database, DatabaseSettings, Pool
from app.settings import ConfigurationError, read
from tests.databases.sqlite import SqliteFiles, start

from .conftest import Counter

INCREMENT = text("UPDATE counter SET value = value + 1")
READ = text("SELECT value FROM counter")
WRITE = text("UPDATE counter SET value = :value")
FULL = 2
"""Of `PRAGMA synchronous`."""
ENDLESS = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"
    " UPDATE counter SET value = (SELECT count(*) FROM n)"
)


@pytest.fixture
def database_server(tmp_path: Path) -> Iterator[SqliteFiles]:
    with start("", tmp_path) as server:
        yield server


async def increment(database: Database, pool: Pool = Pool.TASKS) -> None:
    async with database.session(pool) as session:
        await session.execute(INCREMENT)


async def test_concurrent_read_modify_write_needs_no_lock_of_its_own(counter: Counter) -> None:
    settings = counter.settings.model_copy(update={"lock_timeout": 20.0, "pool_timeout": 20.0})

    async def add(times: int) -> None:
        for _ in range(times):
            async with database.session() as session:
                value = await session.scalar(READ)
                await session.execute(WRITE, {"value": value + 1})

    async with Database(settings) as database, asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(add(40))

    assert counter.value == 320


async def test_the_first_connection_beside_a_writer(database: Database, counter: Counter) -> None:
    async with counter.locked(), database.session(read_only=True) as session:
        assert await session.scalar(READ) == 0
        assert await session.scalar(text("PRAGMA journal_mode")) == "delete"

    async with database.session(Pool.TASKS) as session:
        assert await session.scalar(text("PRAGMA journal_mode")) == "wal"
        await session.execute(INCREMENT)
    async with database.session() as session:
        await session.execute(INCREMENT)
    assert counter.value == 2


async def test_a_connection_that_is_cancelled_while_it_changes_the_journal_leaves_no_lock(
    database: Database, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = import_module("aiosqlite").Connection
    execute = connection._execute

    async def cancelled(driver: object, *call: Any, **options: Any) -> Any:
        if "journal_mode" in str(call) and (connecting := asyncio.current_task()):
            connecting.cancel()  # what is in the hands of the driver's thread goes on
        return await execute(driver, *call, **options)

    async def connect() -> None:
        async with database.session(read_only=True) as session:
            await session.scalar(READ)

    with monkeypatch.context() as patch:
        patch.setattr(connection, "_execute", cancelled)
        # The traceback keeps everything alive that it went through, as it does in a log.
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(connect())

        assert counter.value == 0


async def test_an_interrupt_that_hits_the_rollback_leaves_no_lock(
    database: Database, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = import_module("aiosqlite").Connection
    rollback, refusals = connection.rollback, iter(range(3))

    async def interrupted(driver: object) -> None:
        if next(refusals, None) is not None:
            raise sqlite3.OperationalError("interrupted")
        await rollback(driver)

    async def write() -> None:
        async with database.session() as session:
            await session.execute(INCREMENT)
            writing.set()
            await session.execute(ENDLESS)

    writing = asyncio.Event()
    task = asyncio.create_task(write())
    async with asyncio.timeout(5):
        await writing.wait()
    monkeypatch.setattr(connection, "rollback", interrupted)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with asyncio.timeout(5), database.session() as session:
        await session.execute(INCREMENT)
    assert counter.value == 1
    assert next(refusals, None) is None


async def test_the_folder_of_the_file_is_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/folder with 100% space/app.db"

    async with Database(DatabaseSettings(url=url)) as database, database.session() as session:
        await session.execute(text("SELECT 1"))

    assert (tmp_path / "new" / "folder with 100% space" / "app.db").exists()


async def test_a_writer_does_not_wait_in_line_for_ever(
    database: Database, counter: Counter
) -> None:
    async with database.session() as session:
        await session.execute(INCREMENT)
        with pytest.raises(PoolTimeoutError, match="locked by another writer"):
            await asyncio.create_task(increment(database))

    assert counter.value == 1


@pytest.mark.parametrize("pool", Pool)
async def test_a_write_session_inside_another_is_told_at_once(counter: Counter, pool: Pool) -> None:
    settings = counter.settings.model_copy(update={"lock_timeout": 3600.0})
    async with Database(settings) as database, asyncio.timeout(20):
        async with database.session() as session:
            await session.execute(INCREMENT)
            with pytest.raises(RuntimeError, match="use the first session"):
                await increment(database, pool)
            async with database.session(pool, read_only=True) as reader:
                assert await reader.scalar(READ) == 0
            assert await session.scalar(READ) == 1
        await increment(database, pool)

    assert counter.value == 2


@pytest.mark.parametrize("pool", Pool)
async def test_a_commit_is_on_the_disk(database: Database, pool: Pool) -> None:
    for read_only in (True, False):
        async with database.session(pool, read_only=read_only) as session:
            assert await session.scalar(text("PRAGMA synchronous")) == FULL


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*")}


async def test_nobody_else_can_read_the_files(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    umask = os.umask(0)
    try:
        async with Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/there/a/b/app.db")) as base:
            async with base.session() as session:
                await session.execute(text("CREATE TABLE one (id INTEGER)"))
            made = modes(tmp_path)
    finally:
        os.umask(umask)

    assert made == {
        "there": 0o755, "a": 0o700, "b": 0o700,
        "app.db": 0o600, "app.db-wal": 0o600, "app.db-shm": 0o600,
    }  # fmt: skip


@pytest.mark.parametrize("url", ["sqlite:///data/app.db", "sqlite+aiosqlite:///data/app.db"])
def test_both_spellings_of_a_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    settings = read(DatabaseSettings)

    assert str(settings.async_url) == "sqlite+aiosqlite:///data/app.db"
    assert str(settings.sync_url) == "sqlite:///data/app.db"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:a?mode=memory&uri=true",
        "sqlite+aiosqlite:///?password=1",
    ],
)
def test_a_database_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    with pytest.raises(ConfigurationError, match=r"\n  DATABASE_URL: must look like") as caught:
        read(DatabaseSettings)

    assert "password" not in str(caught.value)
