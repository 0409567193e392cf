"""Where tests get their databases from."""

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

GIVEN = os.environ.get("TEST_DATABASE_URL") or os.environ.get("DATABASE_URL") or ""
"""A server to use. No test touches the database that it names."""


class DatabaseServer(ABC):
    """Makes databases, and takes them away again."""

    _migrated = ""

    @abstractmethod
    def create(self, template: str = "") -> str:
        """Make a database, empty or a copy of the one at the URL `template`; return its URL."""

    @abstractmethod
    def drop(self, url: str) -> None:
        """Take a database away."""

    @abstractmethod
    def unreachable(self) -> str:
        """Return the URL of a database that nobody can connect to."""

    @contextmanager
    def database(self, *, migrated: bool) -> Iterator[str]:
        """Give the URL of a database for one test. Only the first one runs the migrations."""
        if migrated and not self._migrated:
            self._migrated = self.create()
            migrate(DatabaseSettings(url=self._migrated))
        url = self.create(self._migrated if migrated else "")
        yield url
        self.drop(url)

    def close(self) -> None:
        """Take away what is left."""
        if self._migrated:
            self.drop(self._migrated)


def run(url: str, statement: str, **values: Any) -> list[Any]:
    """Run a statement past the code under test, commit it, and return the rows."""
    engine = create_engine(DatabaseSettings(url=url).sync_url, poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        return list(result) if result.returns_rows else []


def start_server(folder: Path) -> AbstractContextManager[DatabaseServer]:
    """Start a server of the kind that the tests are to use, or reach the one that is given.

    A URL without a host asks for a server that only the tests use.
    """
    server = import_module(f"tests.databases.{SCHEMES[0]}").start(GIVEN, folder)
    assert isinstance(server, AbstractContextManager)
    return server
