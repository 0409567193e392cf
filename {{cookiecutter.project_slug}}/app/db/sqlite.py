"""SQLite: a file with one writer at a time."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import AsyncAdaptedQueuePool, Connection, NullPool, create_engine, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as WaitedTooLong
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolProxiedConnection

from app.files import make_folder
from app.settings import in_project

SCHEMES = ("sqlite",)
DRIVER, SYNC_DRIVER = "sqlite+aiosqlite", "sqlite"
EXAMPLE = "sqlite:///data/app.db"
READ_ONLY = {"sqlite_begin": "BEGIN"}
"""Execution options: this BEGIN takes no lock, so that a reader does not wait for a writer."""
MIGRATION_LOCK: tuple[str, ...] = ()
"""No statement is needed: the transaction of the migrations locks the file when it begins."""
_MIGRATION_TIMEOUT = 600.0
"""Seconds that a migration waits for the migrations of other processes."""


class ConnectionSettings(BaseModel):
    """Settings of the connections. Timeouts are in seconds; a request over one gets a 503."""

    pool_timeout: float = Field(default=5.0, gt=0)
    """Longest wait for a free connection."""
    lock_timeout: float = Field(default=5.0, gt=0)
    """Longest wait for a lock that another transaction holds."""


def default_url() -> str:
    """Return the URL of a file in the project folder."""
    return "sqlite+aiosqlite:///data/app.db"


def is_usable(url: URL) -> bool:
    """Return whether a URL names a file: in memory each connection would have its own database."""
    file = url.database or ":memory:"
    return url.get_backend_name() in SCHEMES and not file.startswith((":memory:", "file:"))


def can_pass(error: BaseException | None) -> bool:
    """Return whether waiting can cure an error, unlike a missing table or a write by a reader."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # the primary result code
    return code not in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY}


def migration_engine(url: URL) -> Engine:
    """Create the file, and an engine whose transactions lock it when they begin."""
    url = _in_project(url)
    _make_file(Path(url.database or ""))
    arguments = {"timeout": _MIGRATION_TIMEOUT, "isolation_level": None}
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
    event.listen(engine, "begin", _begin)
    return engine


class Backend:
    """Creates the engines of one process; its writers wait for each other instead of failing.

    The driver would begin a transaction at the first change, too late for a read-modify-write, so
    `_begin` does it instead. Source:
    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes
    """

    def __init__(self, url: URL, settings: ConnectionSettings) -> None:
        self._url = _in_project(url)
        self._path = Path(self._url.database or "")
        self._settings = settings
        _make_file(self._path)
        self._file = self._path.stat()
        self._writer = self._make_engine(1, settings.lock_timeout, poolclass=_OneWriter)
        event.listen(self._writer.sync_engine, "begin", self._check_file, insert=True)

    def make_engines(self, size: int) -> tuple[AsyncEngine, AsyncEngine]:
        """Return the engine of all writers, and one with `size` connections for readers."""
        reader = self._make_engine(size, self._settings.pool_timeout)
        event.listen(reader.sync_engine, "connect", _refuse_writes)
        return self._writer, reader.execution_options(**READ_ONLY)

    def wake_ups(self, _: AsyncEngine) -> Callable[[], AsyncIterator[None]] | None:
        """Return None: SQLite does not notify other processes of a commit."""
        return None

    async def check_writes(self, _: object) -> None:
        """Write a file beside the database, whose own free pages may hide that the disk is full."""
        self._check_file()
        await asyncio.to_thread(_write_beside, self._path)

    def close_in(self, _: float) -> None:
        """Do nothing: there is no server that could hang."""

    def _make_engine(self, size: int, pool_timeout: float, **options: Any) -> AsyncEngine:
        engine = create_async_engine(
            self._url,
            pool_size=size,
            max_overflow=0,
            pool_timeout=pool_timeout,
            connect_args={"timeout": self._settings.lock_timeout, "isolation_level": None},
            hide_parameters=True,  # they would end up in logs and alerts
            **options,
        )
        event.listen(engine.sync_engine, "connect", _set_up, insert=True)
        event.listen(engine.sync_engine, "begin", _begin)
        event.listen(engine.sync_engine, "invalidate", _abort_statement)
        return engine

    def _check_file(self, *_: object) -> None:
        if not (self._path.exists() and os.path.samestat(self._file, self._path.stat())):
            msg = "the database file was deleted or replaced: restore it and restart the service"
            raise OperationalError(None, None, sqlite3.OperationalError(msg))


class _OneWriter(AsyncAdaptedQueuePool):
    """The pool of the one connection that writes; the writers of this process queue for it.

    SQLite's own wait is a series of growing sleeps, which keeps no order: with ten writers at once,
    the slowest of a hundred waits twenty times as long.
    """

    __module__ = AsyncAdaptedQueuePool.__module__  # its logger is SQLAlchemy's: silent by default
    _writer: asyncio.Task[Any] | None = None

    def connect(self) -> PoolProxiedConnection:
        """Wait for the connection; the current asyncio task is the writer until it returns it."""
        task = asyncio.current_task()
        if self._writer is task and self.checkedout():
            msg = (
                "this asyncio task already has a write session, and would wait for itself:"
                " use that session, or open this one with read_only=True, or after the first"
            )
            raise RuntimeError(msg)
        try:
            connection = super().connect()
        except WaitedTooLong:
            msg = f"the database was locked by another writer for {self.timeout():g} seconds"
            raise WaitedTooLong(msg) from None
        self._writer = task
        return connection


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql(options.get("sqlite_begin", "BEGIN IMMEDIATE"))


def _set_up(connection: Any, _: object) -> None:
    # SQLAlchemy stops the driver twice if a task is cancelled again while its connection is being
    # closed. The driver's thread answers only the first stop, so that close() would wait for ever.
    connection.driver_connection.stop = cache(connection.driver_connection.stop)
    # FULL: a commit is on the disk when it returns. With NORMAL, a power cut loses the last ones.
    script = "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL"
    connection.run_async(lambda driver: driver.executescript(script))


def _refuse_writes(connection: Any, _: object) -> None:
    connection.run_async(lambda driver: driver.executescript("PRAGMA query_only = ON"))


def _abort_statement(connection: Any, *_: object) -> None:
    """Abort the running statement of a task that was cancelled.

    If the connection were only closed, the file would stay locked for as long as anything (a
    traceback) refers to the statement.
    """
    connection.run_async(_roll_back)


async def _roll_back(driver: Any) -> None:
    for _ in range(100):
        try:
            async with asyncio.timeout(0.05):
                await driver.rollback()
            return
        except TimeoutError:  # the statement is still running
            await driver.interrupt()
        # The rollback was interrupted instead, or the task was cancelled again: no lock may stay.
        except (sqlite3.OperationalError, asyncio.CancelledError):
            continue


def _in_project(url: URL) -> URL:
    return url.set(database=str(in_project(url.database or "")))


def _make_file(path: Path) -> None:
    """Create the folder and the file, for this user alone; existing ones keep their mode.

    SQLite gives the same mode to the files beside it, `-wal` and `-shm`.
    """
    make_folder(path.parent)
    with suppress(FileExistsError):
        path.touch(0o600, exist_ok=False)
    # The journal mode is stored in the file: if a writer prevents setting it, it is set already.
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def _write_beside(path: Path) -> None:
    with TemporaryFile(dir=path.parent) as file:
        file.write(bytes(64 * 1024))
