"""Engines that behave well under concurrent requests and tasks."""

from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

READ_ONLY = {"sqlite_begin": "BEGIN"}
"""Execution options of a connection that only reads: beside a writer, not behind it."""


def make_engine(
    url: URL, *, pool_size: int, pool_timeout: float, lock_timeout: float
) -> AsyncEngine:
    """Make an engine with a pool of `pool_size` connections.

    `pool_timeout` is how long to wait for one of them, `lock_timeout` how long for the lock of
    an SQLite file, both in seconds.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout,
        hide_parameters=True,  # they end up in logs and alerts
    )
    _prepare_sqlite(engine.sync_engine, lock_timeout)
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
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA busy_timeout = {int(lock_timeout * 1000)}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql(options.get("sqlite_begin", "BEGIN IMMEDIATE"))

    @event.listens_for(engine, "invalidate")
    def invalidate(connection: Any, _: object, __: object) -> None:
        # A task was cancelled in the middle of a statement. Closing the connection alone would
        # leave the file locked for as long as anything (a traceback) refers to the statement.
        connection.run_async(lambda driver: driver.interrupt())
        connection.run_async(lambda driver: driver.rollback())
