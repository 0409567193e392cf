"""Fixtures: the service with a few tasks that can be held."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from app.tasks import task
from tests.tasks.gate import Gate
from tests.tasks.held import Held, gate, serving, submit, watcher
from tests.tasks.watcher import Watcher

__all__ = ["gate", "submit", "watcher"]


@task(name="a/{name} of <mine>")
async def named() -> None:
    await Held.gate.hold("named")


@pytest.fixture
async def app(
    settings_env: pytest.MonkeyPatch,
    gate: Gate,  # noqa: ARG001 - opened at the end
    watcher: Watcher,
) -> AsyncIterator[FastAPI]:
    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "0.1")
    async with serving(watcher, named) as app:
        yield app
