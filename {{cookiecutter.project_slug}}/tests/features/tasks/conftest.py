"""Fixtures: the service with a few tasks that can be held."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from tests.tasks.gate import Gate
from tests.tasks.held import gate, serving, submit, watcher
from tests.tasks.watcher import Watcher

__all__ = ["gate", "submit", "watcher"]


@pytest.fixture
async def app(
    settings_env: pytest.MonkeyPatch,
    gate: Gate,  # noqa: ARG001 - opened at the end
    watcher: Watcher,
) -> AsyncIterator[FastAPI]:
    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "0.1")
    async with serving(watcher) as app:
        yield app
