"""Fixtures: a gate to hold tasks, an observer to wait for, and a shop that has tasks."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from app.feature import load_features
from app.settings import Settings

from .gate import Gate
from .shop import create_shop
from .watcher import Watcher


@pytest.fixture
async def gate() -> Gate:
    """Give a closed gate: `runner.submit(gate.hold)` runs until `gate.open()`."""
    return Gate()


@pytest.fixture
def watcher() -> Watcher:
    """Give an observer that remembers every event: `await watcher.until("succeeded")`."""
    return Watcher()


@pytest.fixture
async def app(settings_env: pytest.MonkeyPatch, watcher: Watcher) -> AsyncIterator[FastAPI]:
    """Run the service with the shop in it; `client` and `runner` lead to it."""
    from app.main import create_app  # noqa: PLC0415 - importing it reads the settings

    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "0.1")
    settings_env.setenv("TASKS_SWEEP_INTERVAL", "0.1")
    settings = Settings()
    service = create_app(settings, [*load_features(settings), create_shop(watcher)])
    async with service.router.lifespan_context(service):
        yield service
