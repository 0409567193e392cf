"""TASKS_OVERRIDES: options of single tasks that an operator changes without a deployment."""

import json
from collections.abc import Coroutine
from typing import Any

import pytest

from app.service import create_app
from app.settings import ConfigurationError, read
from app.tasks import Priority, Task, TaskRunner, TaskSettings, task
from tests.tasks.gate import Gate

from .recorder import Recorder

Hold = Task[[], Coroutine[Any, Any, None]]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def hold(gate: Gate) -> Hold:
    @task(name="hold", priority=Priority.HIGH, timeout=60, max_concurrency=5)
    async def hold() -> None:
        await gate.hold()

    return hold


def override(monkeypatch: pytest.MonkeyPatch, **options: Any) -> TaskSettings:
    monkeypatch.setenv("TASKS_OVERRIDES", json.dumps({"hold": options}))
    return TaskSettings()


async def test_max_concurrency_is_overridden(
    monkeypatch: pytest.MonkeyPatch, hold: Hold, gate: Gate
) -> None:
    settings = override(monkeypatch, max_concurrency=2)
    async with TaskRunner(settings, tasks=[hold]) as runner:
        for _ in range(6):
            runner.submit(hold)
        await gate.holds(2)
        gate.open()
        await runner.join(5)
    assert gate.most_inside == 2


async def test_the_rate_limit_is_overridden(
    monkeypatch: pytest.MonkeyPatch, hold: Hold, gate: Gate
) -> None:
    monkeypatch.setenv("TASKS_DRAIN_TIMEOUT", "0")
    settings = override(monkeypatch, rate_limit="3/hour")
    async with TaskRunner(settings, tasks=[hold]) as runner:
        for _ in range(6):
            runner.submit(hold)
        await gate.holds(3)
        assert (runner.snapshot().running, runner.snapshot().queued) == (3, 3)


async def test_the_timeout_is_overridden(
    monkeypatch: pytest.MonkeyPatch, recorder: Recorder, hold: Hold
) -> None:
    settings = override(monkeypatch, timeout=0.01)
    async with TaskRunner(settings, [recorder], tasks=[hold]) as runner:
        runner.submit(hold)
        await runner.join(5)
    assert recorder.hooks[-1] == "timed_out"


async def test_the_priority_is_overridden_but_not_that_of_a_call(
    monkeypatch: pytest.MonkeyPatch, recorder: Recorder, hold: Hold, gate: Gate
) -> None:
    settings = override(monkeypatch, priority=9)
    async with TaskRunner(settings, [recorder], tasks=[hold]) as runner:
        runner.submit(hold)
        runner.submit(hold, priority=Priority.URGENT)
        gate.open()
        await runner.join(5)
    assert [info.priority for info in recorder.infos] == [9, 0]


async def test_other_tasks_and_options_are_not_overridden(
    monkeypatch: pytest.MonkeyPatch, hold: Hold, gate: Gate
) -> None:
    other_gate = Gate()

    @task
    async def other() -> None:
        await other_gate.hold()

    settings = override(monkeypatch, max_concurrency=1)
    async with TaskRunner(settings, tasks=[hold, other]) as runner:
        runner.submit(hold)
        await gate.holds(1)
        for _ in range(3):
            runner.submit(other)
        await other_gate.holds(3)  # at the same time
        other_gate.open()
        gate.open()
        await runner.join(5)
    assert hold.max_concurrency == 5


def test_a_runner_refuses_an_override_of_an_unknown_task(
    monkeypatch: pytest.MonkeyPatch, hold: Hold
) -> None:
    monkeypatch.setenv("TASKS_OVERRIDES", '{"holt": {"timeout": 1}, "hold": {}}')
    with pytest.raises(ValueError, match=r"TASKS_OVERRIDES: there is no task called holt$"):
        TaskRunner(TaskSettings(), tasks=[hold])


def test_create_app_refuses_overrides_of_an_unknown_task(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("TASKS_OVERRIDES", '{"holt": {"timeout": 1}}')
    with pytest.raises(ConfigurationError, match="TASKS_OVERRIDES: there is no task called holt"):
        create_app()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"hold', "EOF while parsing"),
        ("[1]", "valid dictionary"),
        ('{"hold": {"retries": 3}}', "Extra inputs"),
        ('{"hold": {"max_concurrency": 0}}', "greater than or equal to 1"),
        ('{"hold": {"rate_limit": "often"}}', 'like "10/minute"'),
        ('{"hold": {"priority": 10}}', "less than or equal to 9"),
        ('{"hold": {"timeout": 0}}', "greater than 0"),
    ],
)
def test_invalid_overrides_are_configuration_errors(
    monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setenv("TASKS_OVERRIDES", value)
    with pytest.raises(ConfigurationError) as caught:
        read(TaskSettings)
    assert "TASKS_OVERRIDES" in str(caught.value)
    assert message in str(caught.value)
