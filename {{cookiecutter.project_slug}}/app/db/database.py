"""The database: its pools, and the one way to use a session."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from enum import Enum
from functools import partial
from typing import Any, Self
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import ConnectionPoolEntry

from app.tasks import outbox

from . import backend
from .migrate import Revisions, read_revisions, versions_in
from .readiness import NotReadyError
from .settings import DatabaseSettings

_TASK_STORE_POOL_SIZE = 5
_CLOSING = 1.0
"""Seconds that connections get which are closed because the server hangs."""


class Pool(Enum):
    """Whose connections they are; apart, so that no side can starve another."""

    REQUESTS = "requests"
    TASKS = "tasks"
    TASK_STORE = "task_store"
    """The bookkeeping of durable tasks: a lease must be renewed while all tasks are busy. One
    connection may listen for the tasks of other processes."""


class Database:
    """The engines of one process, made at its start and never at import."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._backend = backend.Backend(
            settings.async_url,
            pool_timeout=settings.pool_timeout,
            lock_timeout=settings.lock_timeout,
        )
        sizes = {
            Pool.REQUESTS: settings.pool_size,
            Pool.TASKS: settings.task_pool_size,
            Pool.TASK_STORE: _TASK_STORE_POOL_SIZE,
        }
        self._engines = {pool: self._backend.make_engine(size) for pool, size in sizes.items()}
        self._revisions: Revisions | None = None
        self._connections: WeakSet[Any] = WeakSet()
        self._timer: asyncio.TimerHandle | None = None
        self._closing: list[asyncio.Task[None]] | None = None
        for engine in self._engines.values():
            event.listen(engine.sync_engine, "do_connect", self._refuse_if_closed)
            event.listen(engine.sync_engine, "connect", self._remember)

    async def __aenter__(self) -> Self:
        """Return the database; connections are made when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._closing:  # a driver may wait for ever when two close a connection
            await asyncio.wait(self._closing, timeout=_CLOSING)
        for engine in self._engines.values():
            await engine.dispose()

    @property
    def wake_ups(self) -> Callable[[], AsyncIterator[None]] | None:
        """What tells of durable tasks that other processes commit, if this database does."""
        engine = self._engines[Pool.TASK_STORE]
        return backend.listen and partial(backend.listen, engine, self._connections)

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
        bind = engine.execution_options(**backend.READ_ONLY) if read_only else engine
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
            await self._backend.check_writes(self.session)
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
        return backend.is_disk_full(error.orig)

    def close_in(self, seconds: float) -> None:
        """Let a shutdown wait no longer for a server that hangs.

        Statements that have not ended by then raise OperationalError, and so do new ones.
        """
        self._timer = asyncio.get_running_loop().call_later(seconds, self._close)

    def _close(self) -> None:
        # Cancelling whoever waits would not do: a driver may take ten seconds to tell the server.
        self._closing = [asyncio.create_task(one.close()) for one in self._connections]

    def _remember(self, _: object, record: ConnectionPoolEntry) -> None:
        self._connections.add(record.driver_connection)

    def _refuse_if_closed(self, *_: object) -> None:
        if self._closing is not None:
            raise OperationalError(None, None, ConnectionError("the service is ending"))
