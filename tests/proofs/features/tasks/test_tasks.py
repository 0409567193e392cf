"""`GET /tasks` and `GET /tasks/{id}`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.db import Database
from app.tasks import TaskRunner
from tests.tasks.gate import Gate
from tests.tasks.held import fail, hold
from tests.tasks.watcher import Watcher

NOT_FOUND = "no such task: its id is wrong, or it ended long ago"


def recent(value: str) -> datetime:
    """Parse a time and check that it is less than a minute old."""
    time = datetime.fromisoformat(value)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
    return time


async def test_snapshot_of_an_idle_service_is_empty(client: httpx2.AsyncClient) -> None:
    response = await client.get("/tasks")

    assert response.status_code == 200
    view = response.json()
    assert {"send_email", "send_alert"} <= {type_["name"] for type_ in view.pop("types")}
    assert view == {
        "queued": 0,
        "running": 0,
        "succeeded": 0,
        "failed": 0,
        "timed_out": 0,
        "cancelled": 0,
        "retried": 0,
        "rejected": 0,
        "queue_depth": {},
        "running_tasks": [],
        "queued_tasks": [],
        "recent_failures": [],
        "durable": {},
    }


async def test_list_of_queued_tasks_is_limited_to_100(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate
) -> None:
    for _ in range(20 + 150):
        runner.submit(gate.hold)
    await gate.holds(20)
    view = (await client.get("/tasks")).json()

    assert view["queued"] == 150
    assert view["queue_depth"] == {"5": 150}
    assert len(view["queued_tasks"]) == 100


async def test_succeeded_in_memory_task_has_its_times(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate
) -> None:
    task_id = runner.submit(gate.hold)
    await gate.holds(1)
    gate.open()
    await runner.join(5)
    view = (await client.get(f"/tasks/{task_id}")).json()

    assert (view["state"], view["attempts"], view["error"]) == ("succeeded", 1, None)
    assert recent(view["created_at"]) <= recent(view["started_at"]) <= recent(view["finished_at"])


async def test_unknown_task_is_404(client: httpx2.AsyncClient) -> None:
    for task_id in ("unknown", "0" * 32, "%00", "a" * 5000):
        response = await client.get(f"/tasks/{task_id}")
        assert response.status_code == 404
        assert response.json()["detail"] == NOT_FOUND


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", "?state=lost"), ("GET", "?name=%00"), ("GET", "?before=x"),
        ("GET", "?before=1.2.3_x"), ("GET", "?before=1_%00"), ("GET", "?before=nan_x"),
        ("POST", "/retry"), ("POST", "/retry?state=running"), ("POST", "/retry?state=failed&name="),
    ],
)  # fmt: skip
async def test_invalid_query_is_422(client: httpx2.AsyncClient, method: str, query: str) -> None:
    response = await client.request(method, f"/tasks{query}")

    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_the_20_latest_failures_are_listed_with_redacted_errors(
    client: httpx2.AsyncClient, runner: TaskRunner, watcher: Watcher, submit: Any
) -> None:
    async def plain(n: int) -> None:
        raise ValueError(n)

    for n in range(25):
        runner.submit(plain, n)
        await watcher.until("failed", n + 1)
    durable = await submit(fail, "mysql://user:p@ss@db/x password=hunter2")
    await watcher.until("failed", 26)
    view = (await client.get("/tasks")).json()
    failures = view["recent_failures"]

    assert view["failed"] == 26
    assert len(failures) == 20
    assert failures[0]["id"] == durable
    assert failures[0]["error"] == "ValueError: mysql://***@db/x password=***"
    assert [task["error"] for task in failures[1:3]] == ["ValueError: 24", "ValueError: 23"]
    assert view["durable"] == {"failed": 1}


@pytest.mark.usefixtures("nothing_pruned")
@pytest.mark.parametrize(
    ("state", "time", "year"), [("paused", 1.7e9, 2023), ("failed", 0.0, 1970)]
)
async def test_rows_with_unknown_states_and_values_are_answered(
    client: httpx2.AsyncClient, app: FastAPI, submit: Any, state: str, time: float, year: int
) -> None:
    task_id = await submit(hold, delay=1000)
    database: Database = app.state.database
    row = {"state": state, "time": time, "end": time}
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
    failures = all_tasks["recent_failures"]
    assert [task["id"] for task in failures] == ([task_id] if state == "failed" else [])
