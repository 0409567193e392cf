"""Tasks behave the same on every engine: in process, and on workers over every broker."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx2
import pytest
import structlog
from fastapi import FastAPI, HTTPException

from app.db import task_session
from app.tasks import Priority, Retry, TaskRunner, Tasks, TaskState, UnknownTaskError
from app.tasks.celery import CeleryRunner
from app.tasks.errors import ArgumentError

from . import application
from .application import (
    broken,
    broken_sync,
    flaky,
    flaky_durable,
    hold,
    hold_durable,
    hold_sync,
    hopeless,
    hopeless_durable,
    limited,
    note,
    note_sync,
    parent,
    rated,
    ship_durable,
    slow,
    typed,
    unlisted,
)
from .brokers import INSTALLED
from .journal import Journal

NUMBER = UUID("12345678-1234-5678-1234-567812345678")
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


WORKERS = ["memory", "valkey", *INSTALLED]


@pytest.fixture(params=["in process", *WORKERS])
def engine_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def runner(runner_on_engine: TaskRunner) -> TaskRunner:
    return runner_on_engine


@pytest.fixture
async def client(runner: TaskRunner) -> AsyncIterator[httpx2.AsyncClient]:
    service = FastAPI()
    service.state.runner = runner

    @service.post("/notes/{label}")
    async def add(label: str, tasks: Tasks) -> str:
        structlog.contextvars.bind_contextvars(request_id=f"request-{label}")
        task_id = tasks.add_task(note, label, priority=Priority.HIGH)
        if label == "refused":
            raise HTTPException(409)
        return task_id

    transport = httpx2.ASGITransport(service)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def state_of(runner: TaskRunner, task_id: str) -> str:
    record = await runner.describe(task_id)
    assert record is not None
    return record.state


async def test_the_snapshot_says_where_tasks_run(runner: TaskRunner) -> None:
    assert runner.snapshot().runs_elsewhere is isinstance(runner, CeleryRunner)


async def test_a_task_of_a_request_runs_with_its_request_id(
    client: httpx2.AsyncClient, journal: Journal
) -> None:
    task_id = (await client.post("/notes/one")).json()
    (entry,) = await journal.until("ran", id=task_id)
    assert (entry["label"], entry["request_id"]) == ("one", "request-one")
    assert (entry["priority"], entry["attempt"]) == (Priority.HIGH, 1)
    await journal.until("succeeded", id=task_id)


async def test_nothing_runs_if_the_request_fails(
    client: httpx2.AsyncClient, journal: Journal
) -> None:
    assert (await client.post("/notes/refused")).status_code == 409
    await client.post("/notes/after")
    await journal.until("ran")
    assert journal.all_of("ran", "label") == ["after"]


async def test_arguments_keep_their_values_and_types(runner: TaskRunner, journal: Journal) -> None:
    runner.submit(typed, NUMBER, WHEN, 1, 2, tags=["ä", "'\""])
    (entry,) = await journal.until("ran")
    assert entry["values"] == [str(NUMBER), WHEN.isoformat(), [1, 2], ["ä", "'\""]]
    assert entry["kinds"] == ["UUID", "datetime"]


async def test_an_argument_that_json_cannot_carry_is_refused(runner: TaskRunner) -> None:
    with pytest.raises(ArgumentError):
        runner.submit(typed, object(), WHEN)  # type: ignore[call-overload]


async def test_sync_and_async_tasks_run_with_normal_priority_by_default(
    runner: TaskRunner, journal: Journal
) -> None:
    runner.submit(note_sync, "sync")
    runner.options(timeout=math.inf).submit(note, "async")
    entries = await journal.until("ran", 2)
    assert sorted(entry["label"] for entry in entries) == ["async", "sync"]
    assert [e["priority"] for e in entries if e["name"] == "note"] == [Priority.NORMAL]
    await journal.until("succeeded", 2)


async def test_a_task_is_retried_until_it_succeeds(runner: TaskRunner, journal: Journal) -> None:
    task_id = runner.submit(flaky, 2)
    await journal.until("succeeded", id=task_id)
    assert journal.all_of("ran", "attempt") == [1, 2, 3]
    assert journal.all_of("retried", "attempt") == [1, 2]


async def test_the_retry_of_the_call_is_used(runner: TaskRunner, journal: Journal) -> None:
    task_id = runner.options(retry=Retry(attempts=2, delay=0)).submit(flaky, 5)
    (failed,) = await journal.until("failed", id=task_id)
    assert (failed["attempt"], failed["error"]) == (2, "OSError('not yet')")


async def test_a_timeout_ends_the_run(runner: TaskRunner, journal: Journal) -> None:
    task_id = runner.submit(slow)
    (ended,) = await journal.until("timed_out", id=task_id)
    assert "longer than 0.1 s" in ended["error"]


async def test_the_timeout_of_the_call_is_used(runner: TaskRunner, journal: Journal) -> None:
    task_id = runner.options(timeout=0.05).submit(hold)
    (ended,) = await journal.until("timed_out", id=task_id)
    assert "longer than 0.05 s" in ended["error"]


async def test_a_sync_task_that_outlives_its_timeout_is_reported_at_once(
    runner: TaskRunner, journal: Journal
) -> None:
    task_id = runner.options(timeout=0.05).submit(hold_sync)
    await journal.until("timed_out", id=task_id)
    journal.open_gate()


async def test_failures_are_reported_to_observers(runner: TaskRunner, journal: Journal) -> None:
    runner.submit(broken)
    runner.submit(broken_sync)
    await journal.until("failed", 2)
    assert {e["name"]: e["error"] for e in journal.entries("failed")} == {
        "broken": "ValueError('password=secret and more')",
        "broken_sync": "KeyError('sync')",
    }
    assert [e["attempt"] for e in journal.entries("ran", name="broken_sync")] == [1, 2]


async def test_a_task_can_submit_another(runner: TaskRunner, journal: Journal) -> None:
    with structlog.contextvars.bound_contextvars(request_id="family"):
        runner.submit(parent, "child")
    (child,) = await journal.until("ran", name="note")
    (entry,) = await journal.until("ran", name="parent")
    assert (child["id"], child["label"], child["request_id"]) == (entry["child"], "child", "family")
    assert child["priority"] == Priority.HIGH
    assert entry["runner"] == type(runner).__name__


@pytest.mark.parametrize("func", [hopeless, hopeless_durable])
async def test_a_final_failure_runs_on_failure(
    func: Any, runner: TaskRunner, journal: Journal
) -> None:
    async with task_session():
        task_id = runner.submit(func, 7)
    (entry,) = await journal.until("failure reported")
    assert (entry["task"], entry["state"], entry["arguments"]) == (task_id, "failed", {"n": 7})


async def test_a_delayed_task_waits(runner: TaskRunner, journal: Journal) -> None:
    begin = time.monotonic()
    runner.options(delay=0.3).submit(note, "later")
    runner.submit(note, "now")
    await journal.until("ran", 2)
    (late,) = journal.entries("ran", label="later")
    assert late["at"] - begin >= 0.3


async def test_durable_tasks_run_only_after_a_commit(runner: TaskRunner, journal: Journal) -> None:
    with pytest.raises(RuntimeError, match="rolled back"):
        await submit_in_transaction(runner, 1, RuntimeError("rolled back"))
    task_id = await submit_in_transaction(runner, 2)
    (entry,) = await journal.until("shipped")
    assert entry["n"] == 2
    await journal.until("succeeded", id=task_id)
    record = await runner.describe(task_id)
    assert record is not None
    assert (record.state, record.attempts) == (TaskState.SUCCEEDED, 1)
    assert journal.all_of("began", "n") == [2]


async def submit_in_transaction(runner: TaskRunner, n: int, error: Exception | None = None) -> str:
    async with task_session():
        task_id = runner.submit(ship_durable, n)
        if error is not None:
            raise error
        return task_id


async def test_a_durable_task_is_retried(runner: TaskRunner, journal: Journal) -> None:
    async with task_session():
        task_id = runner.submit(flaky_durable, 2)
    await journal.until("succeeded", id=task_id)
    assert journal.all_of("ran", "attempt") == [1, 2, 3]


async def test_a_delayed_durable_task_waits(runner: TaskRunner, journal: Journal) -> None:
    begin = time.monotonic()
    async with task_session():
        runner.options(delay=0.3).submit(ship_durable, 1)
        runner.submit(ship_durable, 2)
    await journal.until("shipped", 2)
    (late,) = journal.entries("shipped", n=1)
    assert late["at"] - begin >= 0.3


async def test_a_running_durable_task_is_cancelled(runner: TaskRunner, journal: Journal) -> None:
    async with task_session():
        task_id = runner.submit(hold_durable)
    await journal.until("ran", id=task_id)
    assert await runner.cancel_anywhere(task_id)
    assert await state_of(runner, task_id) == TaskState.CANCELLED
    assert not await runner.cancel_anywhere(task_id)
    journal.open_gate()


async def test_a_delayed_task_is_cancelled(runner: TaskRunner, journal: Journal) -> None:
    task_id = runner.options(delay=0.4).submit(note, "never")
    if isinstance(runner, CeleryRunner):
        await runner.join()
    assert await runner.cancel_anywhere(task_id)
    runner.options(delay=0.5).submit(note, "after")
    await journal.until("ran")
    assert journal.all_of("ran", "label") == ["after"]
    assert not await runner.cancel_anywhere("unknown")


async def test_limits_of_a_task_hold(runner: TaskRunner, journal: Journal) -> None:
    for _ in range(4):
        runner.submit(limited)
    begin = time.monotonic()
    for _ in range(3):
        runner.submit(rated)
    # A task and the observers of its worker use different connections: any order is possible.
    for event, count in (("succeeded", 7), ("ended", 4), ("ran", 3)):
        await journal.until(event, count)
    steps = [e["event"] for e in journal._entries if e["event"] in {"began", "ended"}]
    assert steps == ["began", "ended"] * 4
    assert journal.all_of("ran", "at")[2] - begin > 0.9  # two in a second


async def test_only_tasks_known_to_a_worker_are_sent(runner: TaskRunner, engine_name: str) -> None:
    if engine_name == "in process":
        ran = asyncio.Event()
        runner.submit(ran.set)
        async with asyncio.timeout(5):
            await ran.wait()
        return
    with pytest.raises(ArgumentError, match=r"decorate it with @task"):
        runner.submit(asyncio.Event().set)
    with pytest.raises(UnknownTaskError, match="unlisted: list it in the tasks"):
        runner.submit(unlisted)
    assert application.unlisted not in application.TASKS


@pytest.mark.parametrize("engine_name", WORKERS, indirect=True)
@pytest.mark.parametrize(
    ("func", "args", "state", "attempts", "error"),
    [
        (note, ("x",), TaskState.SUCCEEDED, 1, None),
        (flaky, (1,), TaskState.SUCCEEDED, 2, None),
        (broken, (), TaskState.FAILED, 1, "ValueError: password=*** and more"),
        (slow, (), TaskState.TIMED_OUT, 1, "TimeoutError: slow took longer than 0.1 s"),
    ],
)
async def test_the_state_of_an_ended_task_is_stored(
    runner: TaskRunner,
    func: Any,
    args: tuple[Any, ...],
    state: TaskState,
    attempts: int,
    error: str | None,
) -> None:
    task_id = runner.submit(func, *args)
    async with asyncio.timeout(20):
        while (record := await runner.describe(task_id)) is None or record.finished_at is None:
            pass
    assert (record.state, record.attempts, record.error) == (state, attempts, error)
    assert record.started_at is not None
    assert record.created_at <= record.started_at <= record.finished_at
    assert (record.name, record.priority) == (func.name, Priority.NORMAL)


@pytest.mark.parametrize("engine_name", WORKERS, indirect=True)
async def test_the_states_of_running_and_waiting_tasks_are_stored(
    runner: TaskRunner, journal: Journal
) -> None:
    # In an hour the shared worker is gone: it would report the end of this task to a later test.
    waiting = runner.options(delay=3600).submit(note, "much later")
    running = runner.submit(hold)
    await journal.until("ran", id=running)
    async with asyncio.timeout(20):  # a worker writes states a few times a second
        while await state_of(runner, running) != TaskState.RUNNING:
            pass
    assert not await runner.cancel_anywhere(running)
    assert await state_of(runner, waiting) == TaskState.QUEUED
    assert await runner.cancel_anywhere(waiting)
    assert await state_of(runner, waiting) == TaskState.CANCELLED
    assert await runner.describe("unknown") is None
    journal.open_gate()
    await journal.until("left", id=running)
