"""How requests and tasks get a session."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncSession

from app.tasks import step_session

from .database import Database, Pool

current_database: ContextVar[Database] = ContextVar("current_database")
"""The database of tasks; set before the task runner starts, which hands it on to every task."""


async def get_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """Give a request a session that commits before the response leaves."""
    database: Database = connection.app.state.database
    async with database.session() as session:
        yield session


async def get_read_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """Give a request a session that only reads."""
    database: Database = connection.app.state.database
    async with database.session(read_only=True) as session:
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

    Within a step of a durable task it is the session of the step, which commits when the step ends.
    """
    session = step_session.get()
    if session is not None:
        yield session
        return
    async with current_database.get().session(Pool.TASKS, read_only=read_only) as session:
        yield session
