"""A service with durable tasks that are held or fail: fixtures for tests of what shows them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from app.db import Database
from app.feature import Feature
from app.tasks import Task, TaskObserver, TaskRunner, report_progress, task
from tests.conftest import serve

from .gate import Gate
from .watcher import Watcher

Submit = Callable[..., Awaitable[str]]


class Held:
    """The gate of the present test."""

    gate: Gate


@task(name="hold", durable=True, timeout=60)
async def hold(label: str = "") -> None:
    report_progress(1, 4, "a quarter")
    await Held.gate.hold(label)


@task(name="fail", durable=True)
async def fail(message: str) -> None:
    if not Held.gate.left:
        raise ValueError(message)


@asynccontextmanager
async def serving(observer: TaskObserver, *more: Task[..., Any]) -> AsyncIterator[FastAPI]:
    """Run the service with these tasks and some more."""
    feature = Feature(name="held", tasks=[hold, fail, *more], observers=[observer])
    async with serve(feature) as service:
        yield service
        Held.gate.open()


@pytest.fixture
async def gate() -> Gate:
    Held.gate = Gate()
    return Held.gate


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def submit(app: FastAPI, runner: TaskRunner) -> Submit:
    """Submit a durable task in a transaction of its own."""
    database: Database = app.state.database

    async def submit(func: Any, *args: Any, **options: Any) -> str:
        async with asyncio.timeout(5), database.session():
            return runner.options(**options).submit(func, *args)

    return submit
