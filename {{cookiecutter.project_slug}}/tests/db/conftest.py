"""Fixtures of the database tests: a file with a counter in it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from app.db import Database, DatabaseSettings

TIMEOUT = 0.3
"""Seconds that the code under test waits for a lock or a connection."""


class File:
    """An SQLite file, seen past the code under test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run("CREATE TABLE counter (value INTEGER NOT NULL)")
        self.run("INSERT INTO counter VALUES (0)")

    @property
    def settings(self) -> DatabaseSettings:
        """Settings that lead to the file and wait for nothing long."""
        return DatabaseSettings(
            url=f"sqlite:///{self.path}", pool_timeout=TIMEOUT, lock_timeout=TIMEOUT
        )

    @property
    def value(self) -> int:
        """What has been committed."""
        return int(self.run("SELECT value FROM counter")[0])

    def run(self, statement: str) -> tuple[int, ...]:
        """Run a statement, commit it, and return its first row."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement).fetchone() or ()

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the write lock of the file from outside."""
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        with closing(connection):
            # In a thread: whoever has the lock may need the event loop to give it back.
            await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
            yield


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "test.db")  # where `settings_env` has the database


@pytest.fixture
async def database(file: File) -> AsyncIterator[Database]:
    async with Database(file.settings) as database:
        yield database
