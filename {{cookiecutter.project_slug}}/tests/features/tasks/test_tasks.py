"""`/tasks`: what runs and waits, what became of a task, retry and cancel."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.db import Database
from app.tasks import Priority, TaskRunner
from tests.tasks.gate import Gate
from tests.tasks.held import Held, fail, hold
from tests.tasks.watcher import Watcher


def recent(text: str) -> datetime:
    """Read a time of an answer, which must be a recent one."""
    read = datetime.fromisoformat(text)
    assert abs(datetime.now(UTC) - read) < timedelta(minutes=1)
    return read


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/x"), ("POST", "/x/retry"), ("POST", "/x/cancel")],
)
async def test_it_needs_a_key(client: httpx2.AsyncClient, method: str, path: str) -> None:
    response = await client.request(method, f"/tasks{path}", headers={"X-API-Key": "wrong"})
    assert response.status_code == 401


async def test_what_runs_and_waits(
    client: httpx2.AsyncClient,
    runner: TaskRunner,
    gate: Gate,
    submit: Any,
) -> None:
    durable = await submit(hold, "durable")
    await gate.holds(1)
    plain = [runner.submit(gate.hold, n) for n in range(19)]
    await gate.holds(20)
    waiting = [runner.submit(gate.hold, priority=priority) for priority in (0, 5, 5)]
    delayed = runner.options(delay=1000, priority=Priority.LOW).submit(gate.hold)
    view = (await client.get("/tasks")).json()

    assert (view["running"], view["queued"]) == (20, 4)
    assert view["queue_depth"] == {"0": 1, "5": 2, "7": 1}
    assert [task["id"] for task in view["running_tasks"]] == [durable, *plain]
    first = view["running_tasks"][0]
    assert 0 <= first.pop("age") < 60
    assert first == {
        "id": durable, "name": "hold", "state": "running", "priority": 5, "attempt": 1,
    }  # fmt: skip
    assert [task["id"] for task in view["queued_tasks"]] == [*waiting, delayed]
    assert -1001 < view["queued_tasks"][-1]["age"] < -900
    assert view["durable"] == {"running": 1}


async def test_the_life_of_a_durable_task(
    client: httpx2.AsyncClient, gate: Gate, watcher: Watcher, submit: Any
) -> None:
    task_id = await submit(hold, "", priority=3)
    await gate.holds(1)
    running = (await client.get(f"/tasks/{task_id}")).json()
    gate.open()
    await watcher.until("succeeded")
    done = (await client.get(f"/tasks/{task_id}")).json()

    assert running["state"] == "running"
    assert running["finished_at"] is None
    assert recent(done["created_at"]) <= recent(done["started_at"]) <= recent(done["finished_at"])
    assert done.keys() == {
        "id", "name", "state", "priority", "attempts",
        "created_at", "started_at", "finished_at", "error", "progress",
    }  # fmt: skip
    assert (done["id"], done["name"], done["state"]) == (task_id, "hold", "succeeded")
    assert (done["priority"], done["attempts"], done["error"]) == (3, 1, None)


async def test_the_life_of_a_task_in_memory(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate
) -> None:
    async def plain() -> None:
        await gate.hold()
        raise ValueError("smtp://me:secret@host")

    task_id = runner.submit(plain)
    queued = (await client.get(f"/tasks/{task_id}")).json()
    await gate.holds(1)
    running = (await client.get(f"/tasks/{task_id}")).json()
    gate.open()
    await runner.join(5)
    failed = (await client.get(f"/tasks/{task_id}")).json()

    assert [view["state"] for view in (running, failed)] == ["running", "failed"]
    assert queued["state"] in {"queued", "running"}
    assert recent(failed["created_at"]) <= recent(failed["started_at"])
    assert recent(failed["started_at"]) <= recent(failed["finished_at"])
    assert failed["error"] == "ValueError: smtp://***@host"


@pytest.mark.parametrize("durable", [True, False])
async def test_progress_is_shown_at_once(
    client: httpx2.AsyncClient, runner: TaskRunner, submit: Any, gate: Gate, durable: bool
) -> None:
    task_id = await submit(hold, "") if durable else runner.submit(hold.func, "")
    await gate.holds(1)
    view = (await client.get(f"/tasks/{task_id}")).json()
    assert view["progress"] == {"done": 1, "total": 4, "note": "a quarter"}
    gate.open()


async def test_an_unknown_task(client: httpx2.AsyncClient) -> None:
    for method, path in (("GET", ""), ("POST", "/retry"), ("POST", "/cancel")):
        response = await client.request(method, f"/tasks/unknown{path}")
        assert response.status_code == 404


@pytest.mark.parametrize(
    ("state", "time", "year"), [("paused", math.inf, 9999), ("failed", -1e300, 1970)]
)
async def test_a_row_that_this_release_does_not_understand(
    client: httpx2.AsyncClient, app: FastAPI, submit: Any, state: str, time: float, year: int
) -> None:
    task_id = await submit(hold, delay=1000)
    database: Database = app.state.database
    row = {"state": state, "time": time, "end": math.inf}
    async with database.session() as session:
        await session.execute(
            text(
                "UPDATE background_tasks SET state = :state, priority = 12, timeout = -1,"
                " created_at = :time, finished_at = :end"
            ),
            row,
        )
    view = (await client.get(f"/tasks/{task_id}")).json()
    all_tasks = (await client.get("/tasks")).json()

    assert (view["state"], view["priority"]) == (state, 12)
    assert datetime.fromisoformat(view["created_at"]).year == year
    assert all_tasks["durable"] == {state: 1}
    assert all_tasks["recent_failures"] == ([view] if state == "failed" else [])


async def test_recent_failures_are_told_without_secrets(
    client: httpx2.AsyncClient, watcher: Watcher, submit: Any
) -> None:
    task_id = await submit(fail, "mysql://user:p@ss@db/x password=hunter2")
    await watcher.until("failed")
    (failure,) = (await client.get("/tasks")).json()["recent_failures"]

    assert failure["id"] == task_id
    assert failure["error"] == "ValueError: mysql://***@db/x password=***"


async def test_a_failed_task_starts_over(
    client: httpx2.AsyncClient, watcher: Watcher, submit: Any
) -> None:
    task_id = await submit(fail, "no")
    await watcher.until("failed")
    Held.gate.left.append("the cause is gone")
    response = await client.post(f"/tasks/{task_id}/retry")

    assert response.status_code == 202
    await watcher.until("succeeded")
    view = (await client.get(f"/tasks/{task_id}")).json()
    assert (view["state"], view["attempts"], view["error"]) == ("succeeded", 1, None)
    assert (await client.post(f"/tasks/{task_id}/retry")).status_code == 409


async def test_what_waits_or_runs_is_cancelled(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, watcher: Watcher, submit: Any
) -> None:
    durable, in_memory = await submit(hold), runner.submit(gate.hold)
    await gate.holds(2)
    delayed = await submit(hold, delay=1000)
    for task_id in (durable, in_memory, delayed):
        assert (await client.post(f"/tasks/{task_id}/cancel")).status_code == 202
    await watcher.until("cancelled", 2)

    assert gate.left == []
    for task_id in (durable, in_memory, delayed):
        assert (await client.get(f"/tasks/{task_id}")).json()["state"] == "cancelled"
        assert (await client.post(f"/tasks/{task_id}/cancel")).status_code == 409
