"""The example: three tasks of one request, each of which logs a line."""

import httpx2
import pytest
from fastapi import FastAPI

from app.features.notifications import tasks
from app.features.notifications.tasks import AuditLog, write_log
from app.tasks import TaskRunner


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the tasks have logged, sorted."""
    logged = (record.msg for record in caplog.records if record.name == tasks.__name__)
    return sorted(line["event"] for line in logged if isinstance(line, dict))


async def test_a_request_runs_three_tasks(
    client: httpx2.AsyncClient, runner: TaskRunner, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.post("/notifications/ann@example.com", params={"q": "tea"})
    await runner.join(5)

    assert response.status_code == 202
    assert response.json()["message"] == "notification accepted"
    assert len(set(response.json()["task_ids"])) == 3
    assert lines(caplog) == [
        "audit: ann@example.com was notified",
        "found query: tea",
        "message to ann@example.com",
    ]


@pytest.mark.parametrize("email", ["not-an-address", "ann%0d%0aforged@example.com"])
async def test_an_invalid_address_is_refused_and_runs_no_task(
    client: httpx2.AsyncClient, runner: TaskRunner, caplog: pytest.LogCaptureFixture, email: str
) -> None:
    response = await client.post(f"/notifications/{email}", params={"q": "tea"})
    await runner.join(5)

    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert lines(caplog) == []  # the task of the dependency has not run, either


@pytest.mark.usefixtures("app")
def test_tasks_can_be_called_directly(caplog: pytest.LogCaptureFixture) -> None:
    write_log("directly")
    AuditLog.record("ann@example.com")

    assert lines(caplog) == ["audit: ann@example.com was notified", "directly"]
