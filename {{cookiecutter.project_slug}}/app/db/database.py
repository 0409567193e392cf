"""The database: its pools, and the one way to use a session, for requests and tasks."""

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
    """Whose connections they are; apart, so that no side can starve another."""

    REQUESTS = "requests"
    TASKS = "tasks"
    TASK_STORE = "task_store"
    """The bookkeeping of durable tasks: a lease must be renewed while all tasks are busy. One
    connection may listen for the tasks of other processes."""


class Database:
    """The engines of one process, made at its start and never at import."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._backend = backend.Backend(settings.async_url, settings)
        self._engines = {
            Pool.REQUESTS: self._backend.make_engines(settings.pool_size),
            Pool.TASKS: self._backend.make_engines(settings.task_pool_size),
            Pool.TASK_STORE: self._backend.make_engines(_TASK_STORE_POOL_SIZE),
        }
        self._code_revisions = CodeRevisions.read()

    async def __aenter__(self) -> Self:
        """Return the database; connections are made when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        for engines in self._engines.values():
            for engine in engines:
                await engine.dispose()

    @property
    def wake_ups(self) -> Callable[[], AsyncIterator[None]] | None:
        """Yields when another process commits durable tasks; None if the database cannot tell."""
        writer, _ = self._engines[Pool.TASK_STORE]
        return self._backend.wake_ups(writer)

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
        writer, reader = self._engines[pool]
        bind = reader if read_only else writer
        async with AsyncSession(bind, expire_on_commit=False, close_resets_only=False) as session:
            # Around the commit: what its hooks submit is part of the transaction, too.
            with nullcontext() if read_only else outbox(session):
                async with session.begin():
                    yield session

    async def check(self) -> None:
        """Raise NotReadyError, or what `session` raises, if requests would fail."""
        # Not of the requests: when theirs are busy, requests wait, and are answered in time.
        sessions = partial(self.session, Pool.TASK_STORE)
        await self._backend.check_writes(sessions)
        async with sessions(read_only=True) as session:
            applied = await session.run_sync(lambda sync: revisions_in(sync.connection()))
        if not self._code_revisions.are_in(applied):
            msg = "the database is not at the migrations of this code: alembic upgrade head"
            raise NotReadyError(msg)

    def close_in(self, seconds: float) -> None:
        """Let a shutdown wait no longer for a server that hangs: then every statement fails."""
        self._backend.close_in(seconds)


current_database: ContextVar[Database] = ContextVar("current_database")
"""The database of tasks; set before the task runner starts, which hands it on to every task."""


async def get_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """Give a request a session that commits before the response leaves."""
    async with connection.app.state.database.session() as session:
        yield session


async def get_read_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """Give a request a session that only reads."""
    async with connection.app.state.database.session(read_only=True) as session:
        yield session


# The function scope is what makes the pattern right. With the default scope the commit would come
# after the response (a failure could not be told any more), and the connection would be held
# while background work starts.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
"""A session that commits when the endpoint returns and rolls back when anything is raised."""

ReadSessionDep = Annotated[AsyncSession, Depends(get_read_session, scope="function")]
"""A session for endpoints that write nothing."""


@asynccontextmanager
async def task_session(*, read_only: bool = False) -> AsyncIterator[AsyncSession]:
    """Give a task a session of its own, from the pool of the tasks.

    Within a step of a durable task it is the session of the step, which commits when the step
    ends; but for one that is `read_only`, which sees nothing of the step yet.

    Raises RuntimeError where no service runs.
    """
    session = step_session.get()
    if session is not None and not read_only:
        yield session
        return
    database = current_database.get(None)
    if database is None:
        msg = "no service runs here that has a database: a test has one with the fixture `app`"
        raise RuntimeError(msg)
    async with database.session(Pool.TASKS, read_only=read_only) as session:
        yield session
