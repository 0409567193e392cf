"""The database: its pools, and the one way to use a session."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Self

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.tasks import outbox

from .backend import NotReadyError, Pool
from .connections import Connections
from .migrate import Revisions, read_revisions, versions_in
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
        self.backend = settings.backend
        self._revisions: Revisions | None = None
        self._engines = self.backend.engines(
            settings.async_url,
            sizes,
            pool_timeout=settings.pool_timeout,
            lock_timeout=settings.lock_timeout,
        )
        self._connections = Connections(self._engines.values())

    async def __aenter__(self) -> Self:
        """Return the database; connections are made when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        self._connections.forget()
        for engine in self._engines.values():
            await engine.dispose()

    def close_in(self, seconds: float) -> None:
        """Let a shutdown wait no longer for a server that hangs.

        Statements that have not ended by then raise OperationalError, and so do new ones.
        """
        self._connections.close_in(seconds)

    @asynccontextmanager
    async def session(
        self, pool: Pool = Pool.REQUESTS, *, read_only: bool = False
    ) -> AsyncIterator[AsyncSession]:
        """Give a session that commits at the end, or rolls back if anything is raised.

        Durable tasks that are submitted in its block are part of its transaction. After the block
        the session raises InvalidRequestError.

        `read_only` is a promise to write nothing, durable tasks included: it sees one state of
        the database from its first statement on, and waits for no writer. Raises
        sqlalchemy's TimeoutError when no connection is free, and OperationalError when the
        database cannot be reached, stays locked or takes too long. Where the database has one
        writer at a time, a second write session inside the first one is a RuntimeError.
        """
        engine = self._engines[pool]
        bind = engine.execution_options(**self.backend.read_only) if read_only else engine
        async with AsyncSession(bind, expire_on_commit=False, close_resets_only=False) as session:
            # Around the commit: what its hooks submit is part of the transaction, too.
            with nullcontext() if read_only else outbox(session):
                async with session.begin():
                    yield session
                    if session.in_nested_transaction():
                        await session.commit()  # somebody left a savepoint open: it counts

    async def read_migrations(self) -> Revisions:
        """Read the migrations of this code: the first time takes longer than a check may."""
        self._revisions = await asyncio.to_thread(read_revisions)
        return self._revisions

    async def check(self) -> None:
        """Do what requests do: raise NotReadyError, or what `session` raises, if they would fail.

        It commits a write, of what is there already.
        """
        try:
            await self.backend.check_writes(self.session)
            await self._check_migrations()
        except (DBAPIError, OSError) as error:
            if self.is_disk_full(error):
                remedy = "free some space, or give the database a larger disk"
                raise NotReadyError("the disk is full", remedy) from error
            if isinstance(error, OSError):
                remedy = "mount it for writing, and let the service write to the folder"
                raise NotReadyError("the disk cannot be written", remedy) from error
            raise

    async def _check_migrations(self) -> None:
        async with self.session(read_only=True) as session:
            versions = await session.run_sync(lambda sync: versions_in(sync.connection()))
        revisions = self._revisions or await self.read_migrations()
        if not revisions.are_in(versions):
            cause = "the database is not at the migrations of this code"
            raise NotReadyError(cause, "alembic upgrade head")

    def is_disk_full(self, error: DBAPIError | OSError) -> bool:
        """Say whether there is no space left, for the database or on a disk of this machine."""
        if isinstance(error, OSError):
            return error.errno in {errno.ENOSPC, errno.EDQUOT}
        return self.backend.is_disk_full(error.orig)
