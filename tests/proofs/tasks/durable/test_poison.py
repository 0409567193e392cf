"""Tasks that end their process, and rows that cannot be run."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.tasks import Retry, TaskInfo, TaskObserver, TaskState, task
from tasks.python_path import PYTHONPATH

from .world import World, leave_effect

DEATH = 77
WORKER = """
import asyncio, os, sys
from app.tasks import Retry, task
from tasks.durable.world import World

attempts = int(sys.argv[1])

@task(name="poison", durable=True, retry=Retry(attempts=attempts) if attempts else None)
async def poison():
    with open("runs", "a") as file:
        file.write("x")
    os._exit(77)

async def main():
    async with World(os.environ["DATABASE_URL"]).process(poison):
        await asyncio.Event().wait()

asyncio.run(main())
"""


def run_worker(folder: Path, url: str, attempts: int) -> int:
    """Run a worker until its task ends it; return its exit code."""
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "DATABASE_URL": url}
    command = [sys.executable, "worker.py", str(attempts)]
    return subprocess.run(  # noqa: S603 - this interpreter and fixed words
        command, cwd=folder, env=environment, timeout=30, check=False
    ).returncode


@pytest.mark.parametrize(
    ("retry", "runs"),
    [pytest.param(None, 2, marks=pytest.mark.exhaustive), (Retry(attempts=1), 1)],
)
async def test_a_task_that_kills_its_process_becomes_dead(
    world: World, tmp_path: Path, retry: Retry | None, runs: int
) -> None:
    @task(name="poison", durable=True, retry=retry)
    async def poison() -> None:
        await leave_effect(0)

    await world.insert("it", "poison")
    for _ in range(runs):
        assert run_worker(tmp_path, world.url, retry.attempts if retry else 0) == DEATH
    async with world.process(poison, crash_attempts=2) as process:
        assert await process.watcher.until("failed") == ["it"]
        record = await process.record("it")
        await process.assert_everything_is_released()
    assert (tmp_path / "runs").read_text() == "x" * runs
    assert world.effects == []
    assert (record.state, record.attempts) == (TaskState.DEAD, runs)
    assert record.error is not None
    assert f"the process ended during run {runs} of {runs}" in record.error
    assert [hook for hook, *_ in process.watcher.events] == ["queued", "started", "failed"]

    async with world.process(poison, crash_attempts=2) as process:
        assert await process.runner.retry_durable("it") is True
        await process.watcher.until("succeeded")
    assert world.effects == [0]


class States(TaskObserver):
    """Keeps the states in which tasks have failed."""

    def __init__(self) -> None:
        self.seen: list[TaskState] = []

    def failed(self, info: TaskInfo) -> None:
        self.seen.append(info.state)


async def test_observers_and_the_snapshot_count_dead_tasks(world: World) -> None:
    @task(durable=True)
    async def work() -> None:
        """Never run."""

    await world.insert("it", work.name, attempts=2)
    states = States()
    async with world.process(work, crash_attempts=2, observers=[states]) as process:
        await process.watcher.until("failed")
        assert process.runner.snapshot().failed == 1
    assert states.seen == [TaskState.DEAD]


async def test_a_dead_task_shows_its_last_error(world: World) -> None:
    @task(durable=True, retry=Retry(attempts=3))
    async def work() -> None:
        """Never run."""

    await world.insert("it", work.name, attempts=3, error="ValueError: no")
    async with world.process(work) as process:
        await process.watcher.until("failed")
        record = await process.record("it")
    assert record.error == (
        "PoisonedError: the process ended during run 3 of 3; an earlier run failed: ValueError: no"
    )


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


NOT_ACCEPTED = "ArgumentError: the code of work does not accept the stored arguments: "


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"arguments": '{"m": 1}'}, f"{NOT_ACCEPTED}it has no parameter 'm'"),
        ({"arguments": "{}"}, f"{NOT_ACCEPTED}missing a required argument: 'n'"),
        ({"arguments": '{"n": "one"}'}, f"{NOT_ACCEPTED}Input should be a valid integer"),
        ({"arguments": "[1]"}, "AttributeError: "),
        ({"arguments": "no JSON"}, NOT_ACCEPTED),
        ({"context": "no JSON"}, "JSONDecodeError: "),
        ({"priority": 12}, "ValidationError: 1 validation error for Options"),
        ({"priority": -1}, "ValidationError: 1 validation error for Options"),
        ({"timeout": -1.0}, "ValidationError: 1 validation error for Options"),
    ],
)
async def test_an_invalid_row_fails_once_and_others_run(
    world: World, values: dict[str, Any], error: str
) -> None:
    """The function may have changed since the row was added."""
    await world.insert("it", work.name, **{"arguments": '{"n": 1}', **values})
    await world.insert("next", work.name, arguments='{"n": 2}')
    async with world.process(work) as process:
        assert await process.watcher.until("failed") == ["it"]
        assert await process.watcher.until("succeeded") == ["next"]
        record = await process.record("it")
        await process.assert_everything_is_released()
    assert (record.state, record.attempts) == (TaskState.FAILED, 1)
    assert record.error is not None
    assert record.error.startswith(error)
    assert world.effects == [2]


async def test_the_error_of_a_changed_parameter_does_not_show_its_value(world: World) -> None:
    @task(durable=True)
    async def sign_in(password: int) -> None:
        """Take what was a text in the release that added the row."""

    await world.insert("it", sign_in.name, arguments='{"password": "hunter2"}')
    async with world.process(sign_in) as process:
        await process.watcher.until("failed")
        record = await process.record("it")
    assert record.error is not None
    assert record.error.endswith("unable to parse string as an integer for 'password'")
    assert "hunter2" not in f"{record.error} {record.traceback}"


async def test_the_error_names_a_parameter_type_that_no_longer_exists(world: World) -> None:
    @task(durable=True)
    async def typed(value: "Gone") -> None:  # type: ignore[name-defined]  # noqa: F821 - missing on purpose
        """Take a value of a type that does not exist."""

    await world.insert("it", typed.name, arguments='{"value": 1}')
    async with world.process(typed) as process:
        await process.watcher.until("failed")
        record = await process.record("it")
    assert record.error is not None
    assert "Gone" in record.error


async def test_rows_of_unknown_tasks_stay_queued(world: World) -> None:
    await world.insert("unknown", "task_of_a_newer_version")
    await world.insert("known", work.name, arguments='{"n": 1}')
    async with world.process(work) as process:
        await process.watcher.until("succeeded")
        record = await process.record("unknown")
        await process.assert_everything_is_released()
    assert (record.state, record.attempts) == (TaskState.QUEUED, 0)
    assert world.run("SELECT owner FROM background_tasks WHERE id = 'unknown'") == [None]
