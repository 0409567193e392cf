"""A database with a counter in it, for the database tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import NullPool, create_engine, text

from app.db import DatabaseSettings
from tests.databases.server import run

TIMEOUT = 0.3
"""Seconds that the code under test waits for a lock or a connection."""
INCREMENT = text("UPDATE test_db_counter SET value = value + 1")
READ = text("SELECT value FROM test_db_counter")
_LOCKING_WRITES = (
    "UPDATE test_db_counter SET value = value",
    "UPDATE alembic_version SET version_num = 'later'",
)
"""A migration runs the second of them, too."""


class Counter:
    """A table with one number, read and written without the code under test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.run("CREATE TABLE test_db_counter (value INTEGER NOT NULL)")
        self.run("INSERT INTO test_db_counter VALUES (0)")

    @property
    def settings(self) -> DatabaseSettings:
        """Settings of this database, with short timeouts."""
        return DatabaseSettings(url=self.url, pool_timeout=TIMEOUT, lock_timeout=TIMEOUT)

    @property
    def value(self) -> int:
        """The number that is committed."""
        return int(self.run(READ.text)[0][0])

    def run(self, statement: str) -> list[tuple[int, ...]]:
        """Run a statement, commit it, and return its rows."""
        return run(self.url, statement)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the locks of another program that has written and not yet committed."""
        engine = create_engine(self.settings.sync_url, poolclass=NullPool)
        with engine.connect() as connection:
            # In a thread, because a transaction that holds the lock may need the event loop to end.
            for statement in _LOCKING_WRITES:
                await asyncio.to_thread(connection.execute, text(statement))
            yield
