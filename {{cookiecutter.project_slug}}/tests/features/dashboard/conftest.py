"""Fixtures: the service with a few tasks that can be held."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI

from app.db import Database
from app.feature import Feature, load_features
from app.settings import Settings
from app.tasks import TaskRunner, task
from tests.pages.browser import browser
from tests.tasks.durable.watcher import Watcher
from tests.tasks.gate import Gate

__all__ = ["browser"]

Submit = Callable[..., Awaitable[str]]


class Held:
    """The gate of the present test."""

    gate: Gate


@task(name="hold", durable=True, timeout=60)
async def hold(label: str = "") -> None:
    await Held.gate.hold(label)


@task(name="fail", durable=True)
async def fail(message: str) -> None:
    if not Held.gate.left:
        raise ValueError(message)


@task(name="limited", max_concurrency=3, rate_limit="20/minute")
async def limited() -> None:
    pass


@pytest.fixture
async def gate() -> Gate:
    Held.gate = Gate()
    return Held.gate


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
async def app(
    settings_env: pytest.MonkeyPatch, gate: Gate, watcher: Watcher
) -> AsyncIterator[FastAPI]:
    from app.main import create_app  # noqa: PLC0415 - importing it reads the settings

    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "0.1")
    settings_env.setenv("TASKS_QUEUE_SIZE", "20000")
    settings = Settings()
    feature = Feature(name="held", tasks=[hold, fail, limited], observers=[watcher])
    service = create_app(settings, [*load_features(settings), feature])
    async with service.router.lifespan_context(service):
        yield service
        gate.open()


@pytest.fixture
def submit(app: FastAPI, runner: TaskRunner) -> Submit:
    """Submit a durable task in a transaction of its own."""
    database: Database = app.state.database

    async def submit(func: Any, *args: Any, **options: Any) -> str:
        async with asyncio.timeout(5), database.session():
            return runner.options(**options).submit(func, *args)

    return submit
