"""Databases on a PostgreSQL server: a given one, or a temporary one."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import NullPool, create_engine, make_url, text

from .cluster import Cluster
from .server import DatabaseServer


class PostgresqlServer(DatabaseServer):
    """The databases of one test run; a random prefix keeps them apart from other runs."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")
        self._prefix = f"test_{secrets.token_hex(6)}"
        self._numbers = count()

    def create(self, template: str = "") -> str:
        """Copy a database, or create an empty one."""
        source = make_url(template).database if template else "template0"
        url = self._url.set(database=f"{self._prefix}_{next(self._numbers)}")
        # For a database this small, FILE_COPY is faster than the default.
        self._run(f'CREATE DATABASE "{url.database}" TEMPLATE "{source}" STRATEGY FILE_COPY')
        return url.render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Drop a database, even if somebody is connected to it."""
        self._run(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def unreachable(self) -> str:
        """Return a URL with a port on which nothing listens."""
        return "postgresql://nobody:hunter2@127.0.0.1:1/nothing"

    def _run(self, statement: str) -> None:
        engine = create_engine(self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))


@contextmanager
def start(given: str, folder: Path) -> Iterator[PostgresqlServer]:
    """Connect to the server at the URL `given`, or start one."""
    if given and make_url(given).host:
        server = PostgresqlServer(given)
        yield server
        server.close()
        return
    with Cluster(folder.name) as cluster:
        yield PostgresqlServer(cluster.url)
