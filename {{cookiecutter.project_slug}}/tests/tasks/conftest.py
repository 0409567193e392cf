"""Fixtures: a gate that holds tasks, an observer to wait for, and a service with the shop."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from tests.conftest import serve

from .held import gate, watcher
from .shop import create_shop
from .watcher import Watcher

__all__ = ["gate", "watcher"]


@pytest.fixture
def settings_env(settings_env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "0.1")
    settings_env.setenv("TASKS_SWEEP_INTERVAL", "0.1")
    return settings_env


@pytest.fixture
async def app(settings_env: pytest.MonkeyPatch, watcher: Watcher) -> AsyncIterator[FastAPI]:  # noqa: ARG001 - a fixture
    """Run the service with the shop; `client` and `runner` belong to it."""
    async with serve(create_shop(watcher)) as service:
        yield service
