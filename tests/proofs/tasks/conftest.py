"""Fixtures of the proofs of the task module."""

from collections.abc import AsyncIterator

import pytest

from app.tasks import TaskRunner, TaskSettings
from tests.tasks.gate import Gate

from .recorder import Recorder
from .virtual_time import virtual_monotonic


@pytest.fixture
def recorder() -> Recorder:
    """Give an observer that remembers everything."""
    return Recorder()


@pytest.fixture
async def engine(recorder: Recorder) -> AsyncIterator[TaskRunner]:
    """Give a running task runner with default limits, watched by `recorder`."""
    async with TaskRunner(TaskSettings(drain_timeout=5), [recorder]) as runner:
        yield runner


@pytest.fixture
async def gate() -> Gate:
    """Give a closed gate."""
    return Gate()


@pytest.fixture
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the task module read the clock of a `VirtualTimeLoop`."""
    for module in ("dispatcher", "executor", "info", "job_queue"):
        monkeypatch.setattr(f"app.tasks.{module}.monotonic", virtual_monotonic)
