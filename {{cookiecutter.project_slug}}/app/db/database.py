"""The database: its connection pools, and the sessions of requests and tasks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from enum import Enum
from functools import partial
from typing import Annotated, Self

from fastapi import Depends
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncSession

from app.tasks.durable.outbox import outbox
from app.tasks.durable.steps import step_session

from . import backend
from .migrate import CodeRevisions, revisions_in
from .readiness import NotReadyError
from .settings import DatabaseSettings

_TASK_STORE_POOL_SIZE = 5


class Pool(Enum):
    """Who uses a connection pool; each user has its own, so that none can starve another."""

    REQUESTS = "requests"
    TASKS = "tasks"
    TASK_STORE = "task_store"
    """Claims, leases and records of durable tasks: leases must be renewed even while tasks use all
    of their own connections. One connection may listen for the tasks of other processes."""


class Database:
    """The engines of one process, created at its start and never at import."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._backend = backend.Backend(settings.async_url, settings)
        self._engines = {
            Pool.REQUESTS: self._backend.make_engines(settings.pool_size),
            Pool.TASKS: self._backend.make_engines(settings.task_pool_size),
            Pool.TASK_STORE: self._backend.make_engines(_TASK_STORE_POOL_SIZE),
        }
        self._code_revisions = CodeRevisions.read()

    async def __aenter__(self) -> Self:
        """Return the database; connections are opened when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        for engines in self._engines.values():
            for engine in engines:
                await engine.dispose()

    @property
    def wake_ups(self) -> Callable[[], AsyncIterator[None]] | None:
        """A function that iterates over wake-ups by other processes; None if there are none."""
        writer, _ = self._engines[Pool.TASK_STORE]
        return self._backend.wake_ups(writer)

    @asynccontextmanager
    async def session(
        self, pool: Pool = Pool.REQUESTS, *, read_only: bool = False
    ) -> AsyncIterator[AsyncSession]:
        """Open a session that commits at the end of the block, and rolls back on any exception.

        Durable tasks that are submitted in the block are part of the transaction. After the block
        the session raises InvalidRequestError.

        A `read_only` session must not write or submit durable tasks. It sees one snapshot of the
        database, taken by its first statement, and does not wait for writers.

        Raises sqlalchemy's TimeoutError when no connection is free, and OperationalError when the
        database cannot be reached, stays locked or takes too long. Where the database allows one
        writer at a time, a write session inside another one raises RuntimeError.
        """
        writer, reader = self._engines[pool]
        bind = reader if read_only else writer
        async with AsyncSession(bind, expire_on_commit=False, close_resets_only=False) as session:
            # Around the commit, whose hooks may submit durable tasks to the transaction, too.
            with nullcontext() if read_only else outbox(session):
                async with session.begin():
                    yield session

    async def check(self) -> None:
        """Raise NotReadyError, or an error of `session`, if requests would fail."""
        # Not the pool of the requests: while it is busy, requests wait, but do not fail yet.
        sessions = partial(self.session, Pool.TASK_STORE)
        await self._backend.check_writes(sessions)
        async with sessions(read_only=True) as session:
            applied = await session.run_sync(lambda sync: revisions_in(sync.connection()))
        if not self._code_revisions.are_in(applied):
            msg = "the database lacks migrations of this code: alembic upgrade head"
            raise NotReadyError(msg)

    def close_in(self, seconds: float) -> None:
        """Make every statement fail after `seconds`: a hanging server must not block a shutdown."""
        self._backend.close_in(seconds)


current_database: ContextVar[Database] = ContextVar("current_database")
"""The database that tasks use; set before the start of the runner, which passes it to each task."""


async def get_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """Open the session of a request, which commits before the response leaves."""
    async with connection.app.state.database.session() as session:
        yield session


async def get_read_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """Open a read-only session for a request."""
    async with connection.app.state.database.session(read_only=True) as session:
        yield session


# The pattern depends on the function scope. With the default scope the commit would come after the
# response, too late to report a failure, and the connection would be held while background work
# starts.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
"""A session that commits when the endpoint returns and rolls back on any exception."""

ReadSessionDep = Annotated[AsyncSession, Depends(get_read_session, scope="function")]
"""A session for endpoints that write nothing."""


@asynccontextmanager
async def task_session(*, read_only: bool = False) -> AsyncIterator[AsyncSession]:
    """Open a session for a task, from the pool of the tasks.

    Inside a step of a durable task it is the session of the step, which commits when the step
    ends. A `read_only` session is always a new one, which does not see the step's changes yet.

    Raises RuntimeError outside a running service.
    """
    session = step_session.get()
    if session is not None and not read_only:
        yield session
        return
    database = current_database.get(None)
    if database is None:
        msg = "no service is running here, so there is no database: a test needs the fixture `app`"
        raise RuntimeError(msg)
    async with database.session(Pool.TASKS, read_only=read_only) as session:
        yield session
