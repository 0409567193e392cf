"""`POST /tasks/{id}/retry` and `POST /tasks/{id}/cancel`."""

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.db import Database
from app.tasks import TaskRunner
from tests.tasks.gate import Gate
from tests.tasks.held import hold
from tests.tasks.watcher import Watcher

from .test_tasks import NOT_FOUND


async def test_dead_task_can_be_retried(
    app: FastAPI, client: httpx2.AsyncClient, watcher: Watcher, gate: Gate, submit: Any
) -> None:
    gate.open()
    task_id = await submit(hold)
    await watcher.until("succeeded")
    database: Database = app.state.database
    async with database.session() as session:
        await session.execute(text("UPDATE background_tasks SET state = 'dead', attempts = 3"))
    dead = (await client.get("/tasks")).json()
    response = await client.post(f"/tasks/{task_id}/retry")

    assert [task["state"] for task in dead["recent_failures"]] == ["dead"]
    assert response.status_code == 202
    await watcher.until("succeeded", 2)


async def test_running_and_in_memory_tasks_cannot_be_retried(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, watcher: Watcher, submit: Any
) -> None:
    running = await submit(hold)
    await gate.holds(1)
    plain = runner.submit(print)
    await watcher.until("succeeded")
    for task_id, state in [(running, "running"), (plain, "succeeded")]:
        response = await client.post(f"/tasks/{task_id}/retry")
        assert response.status_code == 409
        assert response.json()["detail"] == (
            f"the task is {state}; only a durable task that ended without success can be retried"
        )


async def test_in_memory_tasks_can_be_cancelled(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, watcher: Watcher
) -> None:
    running = runner.submit(gate.hold)
    await gate.holds(1)
    delayed = runner.options(delay=1000).submit(gate.hold)
    states = []
    for task_id in (delayed, running):
        response = await client.post(f"/tasks/{task_id}/cancel")
        assert response.status_code == 202
        states.append(response.json()["state"])
    await watcher.until("cancelled", 2)

    assert states[0] == "cancelled"
    assert (await client.get(f"/tasks/{running}")).json()["state"] == "cancelled"
    assert (await client.post(f"/tasks/{running}/cancel")).status_code == 409


async def test_a_wrong_state_is_answered_with_the_possible_ones(client: httpx2.AsyncClient) -> None:
    response = await client.post("/tasks/retry?state=succeeded")

    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["msg"] == "Input should be 'failed', 'timed_out', 'dead' or 'cancelled'"


@pytest.mark.parametrize("action", ["retry", "cancel"])
async def test_unknown_task_is_404(client: httpx2.AsyncClient, action: str) -> None:
    response = await client.post(f"/tasks/unknown/{action}")

    assert response.status_code == 404
    assert response.json()["detail"] == NOT_FOUND
