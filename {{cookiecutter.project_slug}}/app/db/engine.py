"""Engines that behave well under concurrent requests and tasks."""

import asyncio
from contextlib import suppress
from sqlite3 import OperationalError
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import TimeoutError as WaitedTooLong
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

READ_ONLY = {"sqlite_begin": "BEGIN"}
"""Execution options of a connection that only reads: beside a writer, not behind it."""

_WRITE = "BEGIN IMMEDIATE"


def make_engine(
    url: URL, *, pool_size: int, pool_timeout: float, lock_timeout: float, writing: asyncio.Lock
) -> AsyncEngine:
    """Make an engine with a pool of `pool_size` connections.

    `pool_timeout` is how long to wait for one of them, `lock_timeout` how long for the lock of
    an SQLite file, both in seconds. `writing` is shared by the engines of one process.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout,
        hide_parameters=True,  # they end up in logs and alerts
    )
    _prepare_sqlite(engine.sync_engine, lock_timeout)
    _queue_writers(engine.sync_engine, lock_timeout, writing)
    return engine


def _prepare_sqlite(engine: Engine, lock_timeout: float) -> None:
    """Make concurrent writers wait for each other instead of failing or losing updates.

    The driver's own transactions begin at the first write, too late for a read-modify-write, so
    it is told to leave them alone and every transaction says what it is going to do. Source:
    https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes
    """

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(lock_timeout * 1000)}")
        # The mode is the file's, and nobody can change it beside a writer; SQLite does not even
        # wait. The next connection will.
        with suppress(OperationalError):
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine, "invalidate")
    def invalidate(connection: Any, _: object, __: object) -> None:
        # A task was cancelled in the middle of a statement. Closing the connection alone would
        # leave the file locked for as long as anything (a traceback) refers to the statement.
        connection.run_async(lambda driver: driver.interrupt())
        connection.run_async(lambda driver: driver.rollback())


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


def _take_turn(connection: Any, lock_timeout: float, writing: asyncio.Lock) -> None:
    async def acquire(_: Any) -> None:
        async with asyncio.timeout(lock_timeout):  # wait_for() of Python 3.11 can lose a cancel()
            await writing.acquire()

    try:
        connection.run_async(acquire)
    except TimeoutError:
        msg = f"the database was locked by another writer for {lock_timeout:g} seconds"
        raise WaitedTooLong(msg) from None
