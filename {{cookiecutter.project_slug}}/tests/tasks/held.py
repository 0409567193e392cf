"""Fixtures: a service with tasks that hang or fail, for tests of features that show tasks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI

from app.db import Database
from app.feature import Feature
from app.tasks import TaskRunner, report_progress, task
from tests.conftest import serve

from .gate import Gate
from .watcher import Watcher

Submit = Callable[..., Awaitable[str]]


class Held:
    """State of the current test: the gate of its tasks, and whether `fail` now succeeds."""

    gate: Gate
    fixed: bool


@task(name="hold", durable=True, timeout=60)
async def hold(label: str = "") -> None:
    report_progress(1, 4, "a quarter")
    await Held.gate.hold(label)


@task(name="fail", durable=True)
async def fail(message: str) -> None:
    if not Held.fixed:
        raise ValueError(message)


@task(name="limited", max_concurrency=3, rate_limit="20/minute")
async def limited() -> None: ...


@task(name="a/{name} of <mine>")
async def named() -> None:
    await Held.gate.hold("named")


@pytest.fixture
async def gate() -> Gate:
    """Return a closed gate: `runner.submit(gate.hold)` runs until `gate.open()`."""
    Held.gate, Held.fixed = Gate(), False
    return Held.gate


@pytest.fixture
def watcher() -> Watcher:
    """Return an observer that records every event: `await watcher.until("succeeded")`."""
    return Watcher()


@pytest.fixture
async def app(
    settings_env: pytest.MonkeyPatch, gate: Gate, watcher: Watcher
) -> AsyncIterator[FastAPI]:
    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "0.1")
    feature = Feature(name="held", tasks=[hold, fail, limited, named], observers=[watcher])
    async with serve(feature) as service:
        yield service
        gate.open()


@pytest.fixture
def submit(app: FastAPI, runner: TaskRunner) -> Submit:
    """Return a function that submits a durable task in a transaction of its own."""
    database: Database = app.state.database

    async def submit(func: Any, *args: Any, **options: Any) -> str:
        async with asyncio.timeout(5), database.session():
            return runner.options(**options).submit(func, *args)

    return submit
