"""SQLite: a file, whose writers take turns."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from sqlite3 import OperationalError
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import TimeoutError as WaitedTooLong
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.db import backend
from app.db.backend import Pool

_WRITE = "BEGIN IMMEDIATE"
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
        if url.database in {None, "", ":memory:"}:
            msg = f"must look like {self.example}"
            raise ValueError(msg)

    def prepare(self, url: URL) -> None:
        """Make the folder; SQLite itself makes only the file."""
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)

    def engines(
        self, url: URL, sizes: Mapping[Pool, int], *, pool_timeout: float, lock_timeout: float
    ) -> dict[Pool, AsyncEngine]:
        """Make the engines of one process, whose writers stand in one line."""
        writing = asyncio.Lock()
        engines = {}
        for pool, size in sizes.items():
            engine = engines[pool] = create_async_engine(
                url,
                pool_size=size,
                max_overflow=0,
                pool_timeout=pool_timeout,
                hide_parameters=True,  # they end up in logs and alerts
            )
            _queue_writers(engine.sync_engine, lock_timeout, writing)
            _prepare_sqlite(engine.sync_engine, lock_timeout)
        return engines


def _prepare_sqlite(engine: Engine, lock_timeout: float) -> None:
    """Make concurrent writers wait for each other instead of failing or losing updates.

    The driver's own transactions begin at the first write, too late for a read-modify-write, so
    it is told to leave them alone and every transaction says what it is going to do. Source:
    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes
    """

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None
        timeout = f"PRAGMA busy_timeout = {int(lock_timeout * 1000)}"
        _run(connection, timeout, "PRAGMA foreign_keys = ON", "PRAGMA synchronous = NORMAL")
        # The mode is the file's, and nobody can change it beside a writer; SQLite does not even
        # wait. The next connection will.
        with suppress(OperationalError):
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
        except OperationalError:  # SQLite interrupts what begins before the statement has ended
            continue
        return


def _queue_writers(engine: Engine, lock_timeout: float, writing: asyncio.Lock) -> None:
    """Let the writers of this process take turns.

    SQLite's own wait for another writer is a sleep of growing length, in no order: with ten
    writers at once the slowest of a hundred waits twenty times as long as in a queue.
    """

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get("sqlite_begin", _WRITE)
        if statement == _WRITE:
            proxy = connection.connection
            _take_turn(proxy.dbapi_connection, lock_timeout, writing)
            proxy.record_info["writes"] = True  # type: ignore[index]  # it is there by now
        connection.exec_driver_sql(statement)

    @event.listens_for(engine, "checkin")
    def checkin(_: object, record: ConnectionPoolEntry) -> None:
        # The transaction is over, however it ended.
        if record.record_info and record.record_info.pop("writes", False):
            writing.release()

    @event.listens_for(engine, "invalidate")
    def invalidate(connection: object, record: ConnectionPoolEntry, _: object) -> None:
        # There may be no checkin after this, if the task is cancelled once more.
        checkin(connection, record)


def _take_turn(connection: Any, lock_timeout: float, writing: asyncio.Lock) -> None:
    async def acquire(_: Any) -> None:
        async with asyncio.timeout(lock_timeout):  # wait_for() of Python 3.11 can lose a cancel()
            await writing.acquire()

    try:
        connection.run_async(acquire)
    except TimeoutError:
        msg = f"the database was locked by another writer for {lock_timeout:g} seconds"
        raise WaitedTooLong(msg) from None
