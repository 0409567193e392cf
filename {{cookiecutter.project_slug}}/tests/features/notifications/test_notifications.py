"""The example: three tasks of one request, one whole line each."""

from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from app.features.notifications.tasks import AuditLog, write_log
from app.tasks import TaskRunner

LOG = Path("data/notifications.log")


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


def content() -> bytes:
    return LOG.read_bytes() if LOG.exists() else b""


def lines() -> list[str]:
    return content().decode().splitlines()


async def test_three_tasks(client: httpx2.AsyncClient, runner: TaskRunner) -> None:
    response = await client.post("/notifications/ann@example.com", params={"q": "tea"})
    await runner.join(5)

    assert response.status_code == 202
    assert response.json()["message"] == "notification accepted"
    assert len(set(response.json()["task_ids"])) == 3
    assert sorted(lines()) == [
        "audit: ann@example.com was notified",
        "found query: tea",
        "message to ann@example.com",
    ]


@pytest.mark.parametrize("email", ["not-an-address", "ann%0d%0aforged@example.com"])
async def test_a_bad_address_is_refused(
    client: httpx2.AsyncClient, runner: TaskRunner, email: str
) -> None:
    response = await client.post(f"/notifications/{email}", params={"q": "tea"})
    await runner.join(5)

    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert not content()  # nor has the task of the dependency run


async def test_a_query_cannot_forge_a_line(client: httpx2.AsyncClient, runner: TaskRunner) -> None:
    query = "tea\r\nmessage to eve@example.com\nmore\rand more"
    await client.post("/notifications/ann@example.com", params={"q": query})
    await runner.join(5)

    assert len(content().split(b"\n")) == 4
    assert b"\r" not in content()
    assert "found query: tea\\r\\nmessage to eve@example.com\\nmore\\rand more" in lines()


def test_tasks_are_functions() -> None:
    write_log("directly")
    AuditLog.record("ann@example.com")

    assert lines() == ["directly", "audit: ann@example.com was notified"]
