"""Only SQLite: its single writer, its file, and its URLs."""

import asyncio
import errno
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from subprocess import DEVNULL
from unittest.mock import Mock

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import Database, DatabaseSettings, Pool, SessionDep, backend
from app.db.migrate import migrate
from app.settings import ConfigurationError, read
from tests.databases.server import run
from tests.databases.sqlite import SqliteFiles, path_of, start
from tests.db.conftest import INCREMENT, READ, Counter

from .test_database import ENDLESS

FULL = 2  # of `PRAGMA synchronous`


@pytest.fixture
def database_server(tmp_path: Path) -> Iterator[SqliteFiles]:
    with start("", tmp_path) as server:
        yield server


async def increment(database: Database, pool: Pool = Pool.TASKS) -> None:
    async with database.session(pool) as session:
        await session.execute(INCREMENT)


async def test_database_opened_beside_a_writer_switches_to_wal_later(counter: Counter) -> None:
    counter.run("PRAGMA journal_mode = DELETE")
    async with (
        counter.locked(),
        Database(counter.settings) as database,
        database.session(read_only=True) as session,
    ):
        assert await session.scalar(READ) == 0
        assert await session.scalar(text("PRAGMA journal_mode")) == "delete"

    async with Database(counter.settings) as database:
        async with database.session(read_only=True) as session:
            assert await session.scalar(text("PRAGMA journal_mode")) == "wal"
        await increment(database)
    assert counter.value == 1


async def test_cancelled_write_leaves_no_lock_when_the_interrupt_misses(
    database: Database, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = import_module("aiosqlite").Connection
    rollback, refusals = connection.rollback, iter(range(3))
    interrupt, misses = connection.interrupt, iter(range(2))

    async def interrupted(driver: object) -> None:
        if next(refusals, None) is not None:
            raise sqlite3.OperationalError("interrupted")
        await rollback(driver)

    async def missed(driver: object) -> None:
        if next(misses, None) is None:
            await interrupt(driver)

    async def write() -> None:
        async with database.session() as session:
            await session.execute(INCREMENT)
            event.listen(session.get_bind(), "before_cursor_execute", lambda *_: writing.set())
            await session.execute(ENDLESS)

    writing = asyncio.Event()
    task = asyncio.create_task(write())
    async with asyncio.timeout(5):
        await writing.wait()
    monkeypatch.setattr(connection, "rollback", interrupted)
    monkeypatch.setattr(connection, "interrupt", missed)
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()

    async with asyncio.timeout(5), database.session() as session:
        await session.execute(INCREMENT)
    assert counter.value == 1
    assert next(refusals, None) is None
    assert next(misses, None) is None


async def read_write_read(database: Database) -> None:
    async with database.session() as session:
        await session.execute(READ)
        await session.execute(INCREMENT)
        await session.execute(READ)


@pytest.mark.parametrize("pause", [0, 1, 4])
async def test_writer_cancelled_twice_at_any_point_leaves_no_lock(
    database: Database, counter: Counter, pause: int
) -> None:
    await read_write_read(database)
    for loop_turns in range(60):
        tasks = [asyncio.create_task(read_write_read(database))]  # keeps its traceback alive
        for _ in range(loop_turns):
            await asyncio.sleep(0)  # one turn of the loop
        tasks[0].cancel()
        for _ in range(pause):
            await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait(tasks, timeout=5)
        assert tasks[0].done()

        done = counter.value
        await increment(database)
        assert counter.value == done + 1


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("pause", [1, 2])
async def test_close_ends_when_its_task_is_cancelled_repeatedly(
    database: Database, *, is_first: bool, pause: int
) -> None:
    """Otherwise `asyncio.run` would wait for it forever."""
    before, threads = asyncio.all_tasks(), set(threading.enumerate())
    for loop_turns in range(60):
        if is_first:
            await database.__aexit__()
        task = asyncio.create_task(read_write_read(database))
        for _ in range(loop_turns):
            await asyncio.sleep(0)
        while not task.done():
            task.cancel()
            for _ in range(pause):
                await asyncio.sleep(0)
        if others := asyncio.all_tasks() - before:
            _, pending = await asyncio.wait(others, timeout=5)
            assert not pending
    await database.__aexit__()
    for thread in set(threading.enumerate()) - threads:  # they call the loop when they stop
        await asyncio.to_thread(thread.join, 5)


async def test_missing_folder_of_the_file_is_created(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/folder with 100% space/app.db"

    async with Database(DatabaseSettings(url=url)) as database, database.session() as session:
        await session.execute(text("SELECT 1"))

    assert (tmp_path / "new" / "folder with 100% space" / "app.db").exists()


async def test_second_writer_fails_after_the_lock_timeout(
    database: Database, counter: Counter
) -> None:
    async with database.session() as session:
        await session.execute(INCREMENT)
        with pytest.raises(PoolTimeoutError, match="locked by another writer"):
            await asyncio.create_task(increment(database))

    assert counter.value == 1


@pytest.mark.parametrize("pool", Pool)
async def test_nested_write_session_fails_at_once(counter: Counter, pool: Pool) -> None:
    settings = counter.settings.model_copy(update={"lock_timeout": 3600.0})
    async with Database(settings) as database, asyncio.timeout(20):
        async with database.session() as session:
            await session.execute(INCREMENT)
            with pytest.raises(RuntimeError, match="use that session"):
                await increment(database, pool)
            async with database.session(pool, read_only=True) as reader:
                assert await reader.scalar(READ) == 0
            assert await session.scalar(READ) == 1
        await increment(database, pool)

    assert counter.value == 2


@pytest.mark.parametrize("pool", Pool)
async def test_commits_are_synced_to_disk(database: Database, pool: Pool) -> None:
    for read_only in (True, False):
        async with database.session(pool, read_only=read_only) as session:
            assert await session.scalar(text("PRAGMA synchronous")) == FULL


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*")}


@pytest.mark.usefixtures("no_umask")
async def test_created_files_are_private_to_their_owner(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/there/a/b/app.db")
    async with Database(settings) as database:
        async with database.session() as session:
            await session.execute(text("CREATE TABLE one (id INTEGER)"))
        created = modes(tmp_path)

    assert created == {
        "there": 0o755, "a": 0o700, "b": 0o700,
        "app.db": 0o600, "app.db-wal": 0o600, "app.db-shm": 0o600,
    }  # fmt: skip


class TestReadiness:
    """`Database.check`, which readiness calls."""

    @pytest.mark.parametrize("replaced", [False, True])
    async def test_deleted_or_replaced_file_fails_checks_and_writes(
        self, database: Database, counter: Counter, replaced: bool
    ) -> None:
        await database.check()
        path = path_of(counter.url)
        other = path.with_name("other.db")
        await asyncio.to_thread(shutil.copy, path, other)
        await asyncio.to_thread(path.unlink)
        if replaced:
            await asyncio.to_thread(other.rename, path)

        for pool in Pool:  # new connections to the new file change nothing
            with pytest.raises(OperationalError, match="deleted or replaced"):
                await database.check()
            async with database.session(pool, read_only=True) as session:
                await session.execute(text("SELECT 1"))
            with pytest.raises(OperationalError, match="deleted or replaced"):  # not lost
                async with database.session(pool) as session:
                    await session.execute(text("SELECT 1"))

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
    async def test_unwritable_disk_fails_the_check(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        error = OSError(code, "in words")
        monkeypatch.setattr(backend, "TemporaryFile", Mock(side_effect=error))

        with pytest.raises(OSError, match="in words"):
            await database.check()

    async def test_check_follows_the_free_space_of_a_real_disk(self, small_disk: Path) -> None:
        url = f"sqlite:///{small_disk}/app.db"
        await asyncio.to_thread(migrate, DatabaseSettings(url=url))
        async with Database(DatabaseSettings(url=url)) as database:
            async with database.session() as session:
                await session.execute(text("CREATE TABLE large AS SELECT zeroblob(200000)"))
            await asyncio.to_thread(run, url, "PRAGMA wal_checkpoint(RESTART)")
            await database.check()
            # SQLite could still write into its log file, but an upload would find no space.
            await asyncio.to_thread(fill, small_disk / "filler")
            with pytest.raises(OSError, match="No space left"):
                await database.check()
            await asyncio.to_thread((small_disk / "filler").unlink)
            await database.check()


FILL = ("PRAGMA max_page_count = 1", "INSERT INTO test_db_counter VALUES (zeroblob(100000))")


async def test_full_database_is_503(
    app: FastAPI, client: httpx2.AsyncClient, counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    @app.post("/fill")
    async def fill_it(session: SessionDep) -> None:
        for statement in FILL:
            await session.execute(text(statement))

    response = await client.post("/fill")

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    lines = [record.getMessage() for record in caplog.records if record.name == "app.errors"]
    assert len(lines) == 1
    assert "disk is full" in lines[0]
    assert counter.value == 0


def fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@pytest.fixture
def settings_env(settings_env: pytest.MonkeyPatch, counter: Counter) -> pytest.MonkeyPatch:
    settings_env.setenv("DATABASE_URL", counter.url)
    return settings_env


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MB; skips where this process may not mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if not shutil.which("mount") or subprocess.run(mount, check=False, stderr=DEVNULL).returncode:  # noqa: S603 - fixed words
        pytest.skip("a file system can only be mounted by root")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)  # noqa: S603, S607 - fixed words


@pytest.mark.parametrize("url", ["sqlite:///data/app.db", "sqlite+aiosqlite:///data/app.db"])
def test_both_url_schemes_are_accepted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    settings = read(DatabaseSettings)

    assert str(settings.async_url) == "sqlite+aiosqlite:///data/app.db"
    assert str(settings.sync_url) == "sqlite:///data/app.db"


async def test_relative_path_is_in_the_project_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = DatabaseSettings(url="sqlite:///data/app.db")

    await asyncio.to_thread(migrate, settings)
    async with Database(settings) as database:
        await database.check()

    assert (tmp_path / "data" / "app.db").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


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
def test_in_memory_database_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    with pytest.raises(ConfigurationError, match=r"\n  DATABASE_URL: must look like") as caught:
        read(DatabaseSettings)

    assert "password" not in str(caught.value)
