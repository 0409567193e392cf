"""SQLite: a file, whose writers take turns."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as WaitedTooLong
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.files import make_folder

from .readiness import NotReadyError, Sessions

SCHEMES = ("sqlite",)
DRIVER, SYNC_DRIVER = "sqlite+aiosqlite", "sqlite"
EXAMPLE = "sqlite:///data/app.db"
READ_ONLY = {"sqlite_begin": "BEGIN"}
"""Execution options: beside a writer, not behind it."""
MIGRATION_LOCK: tuple[str, ...] = ()
"""Their transaction begins with the lock of the file."""
listen: Callable[..., AsyncIterator[None]] | None = None
"""Nobody is told of what another process commits."""
_WRITE = "BEGIN IMMEDIATE"
_MIGRATION_TIMEOUT = 600_000
"""Milliseconds that a migration waits for those of other processes."""
_PATIENCE = 0.5
"""Seconds that the check waits for other writers."""
_SPACE = 65536
"""Bytes that the check wants to find free."""
_ROLLBACKS = 100
"""Attempts to roll back what was interrupted."""


def default_url() -> str:
    """Return a file in the folder of the service."""
    return "sqlite+aiosqlite:///data/app.db"


def is_usable(url: URL) -> bool:
    """Say whether a URL names a file: in memory each connection would have its own database."""
    file = url.database or ":memory:"
    return url.get_backend_name() in SCHEMES and not file.startswith((":memory:", "file:"))


def migration_engine(url: URL) -> Engine:
    """Make the file and an engine whose transactions take its lock at their begin."""
    _make_file(Path(url.database or ""))
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # else the driver commits before every change
        connection.execute(f"PRAGMA busy_timeout = {_MIGRATION_TIMEOUT}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(_begin_of(connection))

    return engine


def is_disk_full(error: BaseException | None) -> bool:
    """Say whether an error of the driver means that there is no space left."""
    return _code(error) == sqlite3.SQLITE_FULL


def can_pass(error: BaseException | None) -> bool:
    """Say no to a statement that is wrong, such as one about a table that does not exist."""
    return _code(error) != sqlite3.SQLITE_ERROR


class Backend:
    """Makes the engines of one process, whose writers wait for each other instead of failing.

    The driver's own transactions begin at the first write, too late for a read-modify-write, so
    it is told to leave them alone and every transaction says what it is going to do. Source:
    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes
    """

    def __init__(self, url: URL, *, pool_timeout: float, lock_timeout: float) -> None:
        self._url = url
        self._path = Path(url.database or "")
        self._pool_timeout = pool_timeout
        self._lock_timeout = lock_timeout
        self._turns = _WriteTurns(lock_timeout)
        self._opened: os.stat_result | None = None
        _make_file(self._path)

    def make_engine(self, size: int) -> AsyncEngine:
        """Make an engine with so many connections."""
        engine = create_async_engine(
            self._url,
            pool_size=size,
            max_overflow=0,
            pool_timeout=self._pool_timeout,
            hide_parameters=True,  # they end up in logs and alerts
        )
        event.listen(engine.sync_engine, "connect", self._connect)
        event.listen(engine.sync_engine, "begin", self._begin)
        event.listen(engine.sync_engine, "checkin", self._end_turn)
        event.listen(engine.sync_engine, "invalidate", self._invalidate)
        return engine

    async def check_writes(self, sessions: Sessions) -> None:
        """Write a file beside the database, and into the database what is there already.

        The first finds a full disk before the space is used up that SQLite has of its own.
        """
        async with sessions(read_only=True) as session:
            await session.connection()  # the first one notes which file it is
        if self._is_replaced():
            raise NotReadyError(
                "the database file was deleted or replaced",
                f"what is written now is lost: restore {self._path} and restart the service",
            )
        try:
            await asyncio.to_thread(_try_to_write, self._path)
        except sqlite3.OperationalError as error:
            if _code(error) == sqlite3.SQLITE_READONLY:
                raise PermissionError(str(error)) from error
            if _code(error) != sqlite3.SQLITE_BUSY:  # others write: so it can be written
                raise OperationalError(None, None, error) from error

    def _connect(self, connection: Any, _: object) -> None:
        self._opened = self._opened or self._path.stat()
        connection.isolation_level = None
        timeout = f"PRAGMA busy_timeout = {int(self._lock_timeout * 1000)}"
        # FULL: a commit is on the disk when it returns. NORMAL loses the last ones with the power.
        _run(connection, timeout, "PRAGMA foreign_keys = ON", "PRAGMA synchronous = FULL")
        # The mode is the file's, and nobody can change it beside a writer; SQLite does not even
        # wait. The next connection will.
        with suppress(sqlite3.OperationalError):
            _run(connection, "PRAGMA journal_mode = WAL")

    def _begin(self, connection: Connection) -> None:
        statement = _begin_of(connection)
        if statement == _WRITE:
            if self._is_replaced():  # what is written now would be lost
                error = sqlite3.OperationalError("the database file was deleted or replaced")
                raise OperationalError(None, None, error)
            proxy: Any = connection.connection
            proxy.dbapi_connection.run_async(self._turns.acquire)
            proxy.record_info["writes"] = True
        connection.exec_driver_sql(statement)

    def _end_turn(self, _: object, record: ConnectionPoolEntry) -> None:
        # The transaction is over, however it ended.
        if record.record_info and record.record_info.pop("writes", False):
            self._turns.release()

    def _invalidate(self, connection: Any, record: ConnectionPoolEntry, _: object) -> None:
        # A task was cancelled in the middle of a statement. There may be no checkin after this,
        # if it is cancelled once more.
        self._end_turn(connection, record)
        # Closing the connection alone would leave the file locked for as long as anything (a
        # traceback) refers to the statement.
        connection.run_async(_break_off)

    def _is_replaced(self) -> bool:
        """Say whether the file is not the one that the first connection has opened."""
        if self._opened is None:
            return False
        try:
            return not os.path.samestat(self._opened, self._path.stat())
        except FileNotFoundError:
            return True


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


def _make_file(path: Path) -> None:
    """Make the folder and the file, for nobody else to read; what exists is left as it is.

    SQLite gives the mode of the file to those beside it, `-wal` and `-shm`.
    """
    make_folder(path.parent)
    with suppress(OSError):  # it exists, or else SQLite says why it cannot be opened
        path.touch(0o600, exist_ok=False)


def _begin_of(connection: Connection) -> str:
    return str(connection.get_execution_options().get("sqlite_begin", _WRITE))


def _code(error: BaseException | None) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # without its details


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


def _try_to_write(path: Path) -> None:
    """Raise what a write raises. It changes nothing, and does not wait long for a lock."""
    with TemporaryFile(dir=path.parent) as file:
        file.write(bytes(_SPACE))
    # Not with a connection of the pool: nothing ends its wait for a lock, and it is a long one.
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as connection, connection:
        connection.execute(_WRITE)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version}")
