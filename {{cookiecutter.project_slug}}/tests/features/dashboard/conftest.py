"""Fixtures: the service with a few tasks that can be held."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from app.tasks import task
from tests.pages.browser import browser
from tests.tasks.gate import Gate
from tests.tasks.held import gate, serving, submit, watcher
from tests.tasks.watcher import Watcher

__all__ = ["browser", "gate", "submit", "watcher"]


@task(name="limited", max_concurrency=3, rate_limit="20/minute")
async def limited() -> None:
    pass


@pytest.fixture
async def app(
    settings_env: pytest.MonkeyPatch,
    gate: Gate,  # noqa: ARG001 - opened at the end
    watcher: Watcher,
) -> AsyncIterator[FastAPI]:
    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "0.1")
    settings_env.setenv("TASKS_QUEUE_SIZE", "20000")
    async with serving(watcher, limited) as app:
        yield app
