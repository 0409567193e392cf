"""SQLite: a file, whose writers take turns."""

import asyncio
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as WaitedTooLong
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.db import backend
from app.db.backend import NotReadyError, Pool, Sessions
from app.files import make_folder

_WRITE = "BEGIN IMMEDIATE"
_MIGRATION_TIMEOUT = 600_000
"""Milliseconds that a migration waits for those of other processes."""
_FILE = "file"
"""Where a connection of the pool has its `_OpenFile`."""
_PATIENCE = 0.5
"""Seconds that the check waits for other writers."""
_SPACE = 65536
"""Bytes that the check wants to find free."""
_ROLLBACKS = 100
"""Attempts to roll back what was interrupted."""


class Backend(backend.Backend):
    """A file of this machine."""

    schemes = ("sqlite",)
    driver = "sqlite+aiosqlite"
    sync_driver = "sqlite"
    example = "sqlite:///data/app.db"
    read_only = {"sqlite_begin": "BEGIN"}  # noqa: RUF012 - beside a writer, not behind it

    def default_url(self) -> str:
        """Return a file in the folder of the service."""
        return "sqlite+aiosqlite:///data/app.db"

    def check(self, url: URL) -> None:
        """Refuse a database in memory: each connection would have its own."""
        if url.database in {None, "", ":memory:"} or str(url.database).startswith("file:"):
            msg = f"must look like {self.example}"
            raise ValueError(msg)

    def prepare(self, url: URL) -> None:
        """Make the folder and the file, for nobody else to read; what exists is left as it is.

        SQLite gives the mode of the file to those beside it, `-wal` and `-shm`.
        """
        path = Path(url.database or "")
        make_folder(path.parent)
        with suppress(OSError):  # it exists, or else SQLite says why it cannot be opened
            path.touch(0o600, exist_ok=False)

    def migration_engine(self, url: URL) -> Engine:
        """Make an engine whose transactions take the lock of the file at their begin."""
        engine = super().migration_engine(url)

        @event.listens_for(engine, "connect")
        def connect(connection: Any, _: object) -> None:
            connection.isolation_level = None  # else the driver commits before every change
            connection.execute(f"PRAGMA busy_timeout = {_MIGRATION_TIMEOUT}")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql(_WRITE)

        return engine

    def engines(
        self, url: URL, sizes: Mapping[Pool, int], *, pool_timeout: float, lock_timeout: float
    ) -> dict[Pool, AsyncEngine]:
        """Make the engines of one process, whose writers stand in one line."""
        turns = _WriteTurns(lock_timeout)
        file = _OpenFile(Path(url.database or ""))
        engines = {}
        for pool, size in sizes.items():
            engine = engines[pool] = create_async_engine(
                url,
                pool_size=size,
                max_overflow=0,
                pool_timeout=pool_timeout,
                hide_parameters=True,  # they end up in logs and alerts
            )
            _queue_writers(engine.sync_engine, turns, file)
            _prepare_sqlite(engine.sync_engine, lock_timeout, file)
        return engines

    async def check_writes(self, sessions: Sessions) -> None:
        """Write a file beside the database, and into the database what is there already.

        The first finds a full disk before the space is used up that SQLite has of its own.
        """
        async with sessions(read_only=True) as session:
            connection = await session.connection()
            file: _OpenFile = connection.info[_FILE]
        try:
            await asyncio.to_thread(file.check)
        except sqlite3.OperationalError as error:
            if _code(error) == sqlite3.SQLITE_READONLY:
                raise PermissionError(str(error)) from error
            if _code(error) != sqlite3.SQLITE_BUSY:  # others write: so it can be written
                raise OperationalError(None, None, error) from error

    def is_disk_full(self, error: BaseException | None) -> bool:
        """Say whether an error of the driver means that there is no space left."""
        return _code(error) == sqlite3.SQLITE_FULL

    def can_pass(self, error: BaseException | None) -> bool:
        """Say no to a statement that is wrong, such as one about a table that does not exist."""
        return _code(error) != sqlite3.SQLITE_ERROR


def _code(error: BaseException | None) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # without its details


class _OpenFile:
    """The file that the first connection has opened, and thereby all of them should have."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: os.stat_result | None = None

    def opened(self) -> None:
        """Note which file it is."""
        self._opened = self._opened or self._path.stat()

    def check(self) -> None:
        """Raise NotReadyError if the file is another one now, and else what a write raises."""
        if not self._is_there():
            raise NotReadyError(
                "the database file was deleted or replaced",
                f"what is written now is lost: restore {self._path} and restart the service",
            )
        with TemporaryFile(dir=self._path.parent) as file:
            file.write(bytes(_SPACE))
        # Not with a connection of the pool: nothing ends its wait for a lock, and it is a long one.
        with closing(sqlite3.connect(self._path, timeout=_PATIENCE)) as connection, connection:
            connection.execute(_WRITE)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {version}")

    def refuse_if_replaced(self) -> None:
        """Raise OperationalError if what is written now would be lost."""
        if not self._is_there():
            error = sqlite3.OperationalError("the database file was deleted or replaced")
            raise OperationalError(None, None, error)

    def _is_there(self) -> bool:
        try:
            return self._opened is None or os.path.samestat(self._opened, self._path.stat())
        except FileNotFoundError:
            return False


def _prepare_sqlite(engine: Engine, lock_timeout: float, file: _OpenFile) -> None:
    """Make concurrent writers wait for each other instead of failing or losing updates.

    The driver's own transactions begin at the first write, too late for a read-modify-write, so
    it is told to leave them alone and every transaction says what it is going to do. Source:
    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes
    """

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: ConnectionPoolEntry) -> None:
        file.opened()
        record.info[_FILE] = file
        connection.isolation_level = None
        timeout = f"PRAGMA busy_timeout = {int(lock_timeout * 1000)}"
        # FULL: a commit is on the disk when it returns. NORMAL loses the last ones with the power.
        _run(connection, timeout, "PRAGMA foreign_keys = ON", "PRAGMA synchronous = FULL")
        # The mode is the file's, and nobody can change it beside a writer; SQLite does not even
        # wait. The next connection will.
        with suppress(sqlite3.OperationalError):
            _run(connection, "PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "invalidate")
    def invalidate(connection: Any, _: object, __: object) -> None:
        # A task was cancelled in the middle of a statement. Closing the connection alone would
        # leave the file locked for as long as anything (a traceback) refers to the statement.
        connection.run_async(_break_off)


def _run(connection: Any, *statements: str) -> None:
    # The driver brings a script to its end even if the task is cancelled: a change of the journal
    # mode that nobody reads the answer of would keep the file locked.
    connection.run_async(lambda driver: driver.executescript("; ".join(statements)))


async def _break_off(driver: Any) -> None:
    await driver.interrupt()
    for _ in range(_ROLLBACKS):
        try:
            await driver.rollback()
        except sqlite3.OperationalError:
            continue  # SQLite interrupts what begins before the statement has ended
        return


class _WriteTurns:
    """The turns of the writers of one process, first come, first served.

    SQLite's own wait for another writer is a sleep of growing length, in no order: with ten
    writers at once the slowest of a hundred waits twenty times as long as in a queue.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._writer: asyncio.Task[Any] | None = None

    async def acquire(self, _: object) -> None:
        """Wait for the turn; it belongs to the current asyncio task until `release`."""
        task = asyncio.current_task()
        if self._lock.locked() and self._writer is task:
            msg = (
                "this asyncio task has written in a session that is still open, and a second one"
                " would wait for it for ever: use the first session, or open this one with"
                " read_only=True, or after the block of the first"
            )
            raise RuntimeError(msg)
        try:
            async with asyncio.timeout(self._timeout):  # wait_for() of 3.11 can lose a cancel()
                await self._lock.acquire()
        except TimeoutError:
            msg = f"the database was locked by another writer for {self._timeout:g} seconds"
            raise WaitedTooLong(msg) from None
        self._writer = task

    def release(self) -> None:
        """End the turn."""
        self._writer = None
        self._lock.release()


def _queue_writers(engine: Engine, turns: _WriteTurns, file: _OpenFile) -> None:
    """Let every transaction that may write begin with its turn, and end it."""

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get("sqlite_begin", _WRITE)
        if statement == _WRITE:
            file.refuse_if_replaced()
            proxy: Any = connection.connection
            proxy.dbapi_connection.run_async(turns.acquire)
            proxy.record_info["writes"] = True
        connection.exec_driver_sql(statement)

    @event.listens_for(engine, "checkin")
    def checkin(_: object, record: ConnectionPoolEntry) -> None:
        # The transaction is over, however it ended.
        if record.record_info and record.record_info.pop("writes", False):
            turns.release()

    @event.listens_for(engine, "invalidate")
    def invalidate(connection: object, record: ConnectionPoolEntry, _: object) -> None:
        # There may be no checkin after this, if the task is cancelled once more.
        checkin(connection, record)
