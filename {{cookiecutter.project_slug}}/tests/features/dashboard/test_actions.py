"""The buttons of the task page: forms that work without a script."""

import httpx2
import pytest

from app.tasks import TaskRunner
from tests.tasks.gate import Gate
from tests.tasks.held import Held, Submit, fail, hold
from tests.tasks.watcher import Watcher


async def press(client: httpx2.AsyncClient, action: str, task_id: str) -> str:
    response = await client.post(f"/dashboard/{action}", data={"task": task_id})
    assert response.status_code == 303
    location = response.headers["Location"]
    assert location.startswith("/dashboard?notice=")
    return str(location.rpartition("=")[2])


async def test_cancel(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, watcher: Watcher, submit: Submit
) -> None:
    durable = await submit(hold)
    in_memory = runner.submit(gate.hold)
    await gate.holds(2)
    for task_id in (durable, in_memory):
        assert await press(client, "cancel", task_id) == "cancelled"
    await watcher.until("cancelled", 2)

    assert gate.left == []
    assert await press(client, "cancel", durable) == "not-cancelled"
    assert await press(client, "cancel", "unknown") == "not-cancelled"


async def test_retry(client: httpx2.AsyncClient, watcher: Watcher, submit: Submit) -> None:
    task_id = await submit(fail, "no")
    await watcher.until("failed")
    Held.gate.left.append("the cause is gone")

    assert await press(client, "retry", task_id) == "retried"
    await watcher.until("succeeded")
    assert await press(client, "retry", task_id) == "not-retried"
    assert await press(client, "retry", "unknown") == "not-retried"


@pytest.mark.parametrize("task_id", ["", "<x>", "a" * 65, "\0", "../x", "a b"])
@pytest.mark.parametrize("action", ["cancel", "retry"])
async def test_what_is_no_id(client: httpx2.AsyncClient, action: str, task_id: str) -> None:
    response = await client.post(f"/dashboard/{action}", data={"task": task_id})

    assert response.status_code == 422
