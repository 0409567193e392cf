"""The database: its pools, and the one way to use a session."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.tasks import outbox

from .backend import Pool
from .settings import DatabaseSettings

_TASK_STORE_POOL_SIZE = 4


class Database:
    """The engines of one process, made at its start and never at import."""

    def __init__(self, settings: DatabaseSettings) -> None:
        settings.prepare()
        sizes = {
            Pool.REQUESTS: settings.pool_size,
            Pool.TASKS: settings.task_pool_size,
            Pool.TASK_STORE: _TASK_STORE_POOL_SIZE,
        }
        self._read_only = settings.backend.read_only
        self._engines = settings.backend.engines(
            settings.async_url,
            sizes,
            pool_timeout=settings.pool_timeout,
            lock_timeout=settings.lock_timeout,
        )

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

        `read_only` is a promise to write nothing, durable tasks included: it sees one state of
        the database from its first statement on, and waits for no writer. Raises
        sqlalchemy's TimeoutError when no connection is free, and OperationalError when the
        database cannot be reached, stays locked or takes too long.
        """
        engine = self._engines[pool]
        bind = engine.execution_options(**self._read_only) if read_only else engine
        async with AsyncSession(bind, expire_on_commit=False) as session, session.begin():
            with nullcontext() if read_only else outbox(session):
                yield session
            if session.in_nested_transaction():
                await session.commit()  # somebody left a savepoint open: it counts

    async def ping(self) -> None:
        """Raise what `session` raises unless the database answers."""
        async with self.session(read_only=True) as session:
            await session.execute(text("SELECT 1"))
