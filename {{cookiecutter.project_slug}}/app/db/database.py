"""The database: its pools, and the one way to use a session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncSession

from app.tasks import outbox

from .engine import READ_ONLY, make_engine

_TASK_STORE_POOL_SIZE = 4


def _check_url(url: str) -> str:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = URL.create("nothing")
    in_memory = parsed.database in {None, "", ":memory:"}  # each connection would have its own
    if parsed.get_backend_name() != "sqlite" or in_memory:
        msg = "must look like sqlite:///data/app.db"
        raise ValueError(msg)
    return url


class DatabaseSettings(BaseSettings):
    """Where the database is and how patient to be, read from DATABASE_* variables."""

    model_config = SettingsConfigDict(
        env_prefix="DATABASE_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    url: Annotated[str, AfterValidator(_check_url)] = "sqlite+aiosqlite:///data/app.db"
    pool_size: int = Field(default=10, ge=1)
    """Connections for requests."""
    task_pool_size: int = Field(default=10, ge=1)
    """Connections for tasks; apart, so that neither side can starve the other."""
    pool_timeout: float = Field(default=5.0, gt=0)
    """Seconds to wait for a connection before the answer is 503."""
    lock_timeout: float = Field(default=5.0, gt=0)
    """Seconds to wait for the lock of an SQLite file before the answer is 503."""

    @property
    def async_url(self) -> URL:
        """The URL with the driver that the service uses."""
        return make_url(self.url).set(drivername="sqlite+aiosqlite")

    @property
    def sync_url(self) -> URL:
        """The URL with the driver that migrations use."""
        return make_url(self.url).set(drivername="sqlite")

    def make_folder(self) -> None:
        """Make the folder of an SQLite file; SQLite itself makes only the file."""
        if self.sync_url.database:
            Path(self.sync_url.database).parent.mkdir(parents=True, exist_ok=True)


class Pool(Enum):
    """Whose connections they are; apart, so that no side can starve another."""

    REQUESTS = "requests"
    TASKS = "tasks"
    TASK_STORE = "task_store"
    """The bookkeeping of durable tasks: a lease must be renewed while all tasks are busy."""


class Database:
    """The engines of one process, made at its start and never at import."""

    def __init__(self, settings: DatabaseSettings) -> None:
        settings.make_folder()
        sizes = {
            Pool.REQUESTS: settings.pool_size,
            Pool.TASKS: settings.task_pool_size,
            Pool.TASK_STORE: _TASK_STORE_POOL_SIZE,
        }
        writing = asyncio.Lock()
        self._engines = {
            pool: make_engine(
                settings.async_url,
                pool_size=size,
                pool_timeout=settings.pool_timeout,
                lock_timeout=settings.lock_timeout,
                writing=writing,
            )
            for pool, size in sizes.items()
        }

    async def __aenter__(self) -> Self:
        """Return the database; connections are made when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        for engine in self._engines.values():
            await engine.dispose()

    @asynccontextmanager
    async def session(
        self, pool: Pool = Pool.REQUESTS, *, read_only: bool = False
    ) -> AsyncIterator[AsyncSession]:
        """Give a session that commits at the end, or rolls back if anything is raised.

        Durable tasks that are submitted in its block are part of its transaction.

        `read_only` is a promise to write nothing, durable tasks included: it saves waiting for
        other writers. Raises
        sqlalchemy's TimeoutError when no connection is free, and OperationalError when the
        database cannot be reached or stays locked.
        """
        engine = self._engines[pool]
        bind = engine.execution_options(**READ_ONLY) if read_only else engine
        async with AsyncSession(bind, expire_on_commit=False) as session, session.begin():
            with nullcontext() if read_only else outbox(session):
                yield session
            if session.in_nested_transaction():
                await session.commit()  # somebody left a savepoint open: it counts

    async def ping(self) -> None:
        """Raise what `session` raises unless the database answers."""
        async with self.session(read_only=True) as session:
            await session.execute(text("SELECT 1"))
