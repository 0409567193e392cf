"""`/tasks`: all tasks, one task, and what operators do with them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from structlog.contextvars import bound_contextvars

from app.tasks import Priority, TaskRunner, report_progress
from tests.tasks.gate import Gate
from tests.tasks.held import Held, fail, hold, named
from tests.tasks.watcher import Watcher


def recent(text: str) -> datetime:
    """Parse a time of a response, and check that it is in the last minute."""
    read = datetime.fromisoformat(text)
    assert abs(datetime.now(UTC) - read) < timedelta(minutes=1)
    return read


async def test_running_and_waiting_tasks_are_listed(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, submit: Any
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


async def test_a_durable_task_is_shown_while_it_runs_and_after_its_end(
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
    assert running["progress"] == {"done": 1, "total": 4, "note": "a quarter"}
    assert recent(done["created_at"]) <= recent(done["started_at"]) <= recent(done["finished_at"])
    assert done.keys() == {
        "id", "name", "state", "priority", "attempts", "created_at", "started_at", "finished_at",
        "error", "traceback", "progress", "arguments", "request_id",
    }  # fmt: skip
    assert (running["arguments"], done["arguments"]) == ({"label": ""}, {})
    assert (done["id"], done["name"], done["state"]) == (task_id, "hold", "succeeded")
    assert (done["priority"], done["attempts"], done["error"]) == (3, 1, None)


async def test_an_in_memory_task_is_shown_while_it_runs_and_after_its_end(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate
) -> None:
    async def plain() -> None:
        report_progress(1, 2, "half")
        await gate.hold()
        raise ValueError("smtp://me:secret@host")

    with bound_contextvars(request_id="r-1"):
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
    for view in (running, failed):
        assert view["progress"] == {"done": 1, "total": 2, "note": "half"}
        assert (view["request_id"], view["arguments"]) == ("r-1", None)
    assert failed["traceback"].endswith("ValueError: smtp://***@host")


async def test_durable_tasks_are_listed_in_pages(client: httpx2.AsyncClient, submit: Any) -> None:
    ids = [await submit(hold, delay=1000) for _ in range(60)]
    path = "/tasks?state=queued&name=hold"
    first = (await client.get(path)).json()
    await submit(hold, delay=1000)
    second = (await client.get(first["next"])).json()

    assert first["next"].startswith(f"{path}&before=")
    assert [task["id"] for task in first["tasks"] + second["tasks"]] == ids[::-1]
    assert second["next"] is None
    assert "arguments" not in second["tasks"][0]
    for path in ("/tasks?name=fail", "/tasks?state=failed"):
        assert (await client.get(path)).json() == {"tasks": [], "next": None}


async def test_all_failed_tasks_of_one_name_can_be_retried(
    client: httpx2.AsyncClient, watcher: Watcher, submit: Any
) -> None:
    for _ in range(3):
        await submit(fail, "no")
    await watcher.until("failed", 3)
    Held.fixed = True
    timed_out = await client.post("/tasks/retry?state=timed_out")
    response = await client.post("/tasks/retry?state=failed&name=fail")

    assert timed_out.json() == {"retried": 0}
    assert (response.status_code, response.json()) == (202, {"retried": 3})
    await watcher.until("succeeded", 3)


async def test_an_unknown_task_is_a_404(client: httpx2.AsyncClient) -> None:
    changes = [("POST", "types/unknown/pause"), ("PUT", "types/unknown/limits")]
    for method, path in [("GET", "x"), ("POST", "x/retry"), ("POST", "x/cancel"), *changes]:
        response = await client.request(method, f"/tasks/{path}", json={})
        assert response.status_code == 404


async def test_a_failed_task_is_shown_without_secrets_and_can_be_retried(
    client: httpx2.AsyncClient, watcher: Watcher, submit: Any
) -> None:
    with bound_contextvars(request_id="r-1"):
        task_id = await submit(fail, "mysql://user:p@ss@db/x password=hunter2")
    await watcher.until("failed")
    (failure,) = (await client.get("/tasks")).json()["recent_failures"]
    view = (await client.get(f"/tasks/{task_id}")).json()

    assert failure["id"] == task_id
    assert failure["error"] == "ValueError: mysql://***@db/x password=***"
    assert view["arguments"] == {"message": "mysql://***@db/x password=***"}
    assert view["request_id"] == "r-1"
    assert view["traceback"].startswith("Traceback (most recent call last):")
    assert view["traceback"].endswith(failure["error"])

    Held.fixed = True
    response = await client.post(f"/tasks/{task_id}/retry")

    assert response.status_code == 202
    await watcher.until("succeeded")
    view = (await client.get(f"/tasks/{task_id}")).json()
    assert (view["state"], view["attempts"], view["error"]) == ("succeeded", 1, None)
    assert (await client.post(f"/tasks/{task_id}/retry")).status_code == 409


async def test_running_and_delayed_tasks_can_be_cancelled(
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


async def test_a_task_can_be_paused_and_resumed(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, submit: Any
) -> None:
    gate.open()
    path = "/tasks/types/a%2F%7Bname%7D%20of%20<mine>"
    paused = await client.post(f"{path}/pause")
    runner.submit(named)
    await submit(hold)
    await gate.holds(1)
    (view,) = (t for t in (await client.get("/tasks")).json()["types"] if t["name"] == named.name)
    resumed = await client.post(f"{path}/resume")
    await gate.holds(2)

    assert (paused.status_code, resumed.status_code) == (202, 202)
    assert gate.entered == ["", "named"]
    assert view == paused.json() | {"waiting": 1}
    assert (view["paused"], view["durable"], resumed.json()["paused"]) == (True, False, False)


async def test_the_limits_of_a_task_can_be_changed(client: httpx2.AsyncClient) -> None:
    path = "/tasks/types/hold/limits"
    limits = {"max_concurrency": 2, "rate_limit": f"{60 * ' '}10 / minute"}
    changed = (await client.put(path, json=limits)).json()
    reset = (await client.put(path, json={"max_concurrency": None})).json()

    assert (changed["max_concurrency"], changed["rate_limit"]) == (2, "10/minute")
    assert (reset["max_concurrency"], reset["rate_limit"]) == (None, None)
    for bad in ({"max_concurrency": 0}, {"max_concurrency": 2**31}, {"rate_limit": "often"}):
        assert (await client.put(path, json=bad)).status_code == 422
