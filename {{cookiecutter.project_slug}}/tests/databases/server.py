"""Creates and drops the databases of the tests."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, text

from app.db import DatabaseSettings
from app.db.backend import SCHEMES
from app.db.migrate import migrate

GIVEN_URL = os.environ.get("TEST_DATABASE_URL") or os.environ.get("DATABASE_URL") or ""
"""The server to use. Tests do not touch the database that the URL names."""


class DatabaseServer(ABC):
    """Creates and drops databases."""

    _migrated = ""

    @abstractmethod
    def create(self, template: str = "") -> str:
        """Create a database, empty or a copy of the one at the URL `template`; return its URL."""

    @abstractmethod
    def drop(self, url: str) -> None:
        """Drop a database."""

    @abstractmethod
    def unreachable(self) -> str:
        """Return the URL of a database that nobody can connect to."""

    @contextmanager
    def database(self, *, migrated: bool) -> Iterator[str]:
        """Yield the URL of a new database; migrations run once, and their result is copied."""
        if migrated and not self._migrated:
            self._migrated = self.create()
            migrate(DatabaseSettings(url=self._migrated))
        url = self.create(self._migrated if migrated else "")
        yield url
        self.drop(url)

    def close(self) -> None:
        """Drop the database that the others are copies of."""
        if self._migrated:
            self.drop(self._migrated)


def run(url: str, statement: str, **values: Any) -> list[Any]:
    """Run and commit a statement without the code under test; return the rows."""
    engine = create_engine(DatabaseSettings(url=url).sync_url, poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        return list(result) if result.returns_rows else []


def start_server(folder: Path) -> AbstractContextManager[DatabaseServer]:
    """Start a database server for the tests, or connect to the one at GIVEN_URL.

    A URL without a host asks for a server that only these tests use.
    """
    server = import_module(f"tests.databases.{SCHEMES[0]}").start(GIVEN_URL, folder)
    assert isinstance(server, AbstractContextManager)
    return server
