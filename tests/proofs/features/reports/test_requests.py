"""Refused requests leave no file and no report; addresses have the root path."""

import asyncio
import re
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from app.tasks import TaskRunner
from tests.conftest import API_KEY
from tests.features.reports.conftest import Upload, files
from tests.problems import check_problem

from .conftest import count_reports


async def test_invalid_addresses_are_422_and_leave_nothing(app: FastAPI, upload: Upload) -> None:
    for email in [
        "",
        "ann",
        "ann@",
        "ann@example.com\r\nBcc: eve@example.com",
        "ann@example.com\n",
        "ann@example.com\0",
        "ann@example.com, eve@example.com",
        "ann@example.com;eve@example.com",
        "Ann <ann@example.com>",
        b"\xed\xa0\x80@example.com",
        b"ann@\xed\xa0\x80.example",
        "x" * 400 + "@example.com",
    ]:
        response = await upload(email=email)

        check_problem(response, 422)
        assert response.json()["errors"][0]["loc"] == ["body", "email"]
    assert await count_reports(app) == 0
    assert files() == []


async def test_invalid_priorities_are_422(app: FastAPI, upload: Upload) -> None:
    for priority in ["10", "often", "HIGH", "9" * 5000]:
        response = await upload(priority=priority)

        check_problem(response, 422)
        (error,) = response.json()["errors"]
        assert error["loc"] == ["body", "priority"]
    assert await count_reports(app) == 0


async def test_missing_parts_are_422(client: httpx2.AsyncClient) -> None:
    email = {"email": "ann@example.com"}
    file = {"file": ("x.csv", b"a\n1\n")}

    check_problem(await client.post("/reports", data=email), 422)
    check_problem(await client.post("/reports", data={**email, "file": "a,b"}), 422)
    check_problem(await client.post("/reports", files=file), 422)
    check_problem(await client.post("/reports", json=email), 422)
    assert files() == []


@pytest.fixture
def small_queue(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("TASKS_MAX_CONCURRENCY", "1")
    settings_env.setenv("TASKS_QUEUE_SIZE", "1")


@pytest.mark.usefixtures("small_queue")
async def test_full_queue_is_503_and_leaves_nothing(
    app: FastAPI, upload: Upload, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.features.reports.router.write_private", None)  # nothing is copied
    gate = asyncio.Event()
    for _ in range(2):  # one runs, one waits
        runner.submit(gate.wait)

    response = await upload()
    gate.set()

    check_problem(response, 503)
    assert "Retry-After" in response.headers
    assert files() == []
    assert await count_reports(app) == 0


async def test_api_is_documented(client: httpx2.AsyncClient) -> None:
    api = (await client.get("/openapi.json")).json()

    post = api["paths"]["/reports"]["post"]
    assert {"202", "413", "503", "default"} <= post["responses"].keys()
    answer = api["paths"]["/reports/{report_id}"]["get"]["responses"]["200"]
    assert answer["content"].keys() == {"application/json", "text/html"}


async def test_addresses_of_a_report_begin_with_the_root_path(app: FastAPI) -> None:
    transport = httpx2.ASGITransport(app, root_path="/svc")
    headers = {"X-API-Key": API_KEY, "Host": "evil.example"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        for status, accept in {202: "application/json", 303: "text/html"}.items():
            response = await client.post(
                "/svc/reports",
                headers={**headers, "Accept": accept},
                files={"file": b"a\n1\n"},
                data={"email": "ann@example.com"},
            )

            assert response.status_code == status
            path = response.headers["Location"]
            assert path.startswith("/svc/reports/")
            assert (await client.get(path, headers=headers)).status_code == 200
            page = await client.get(path, headers={**headers, "Accept": "text/html"})
            addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
            assert addresses
            assert all(address.startswith("/svc/") for address in addresses)


async def test_invalid_ids_are_422_and_unknown_ones_404(client: httpx2.AsyncClient) -> None:
    unknown = uuid4()

    check_problem(await client.get("/reports/1"), 422)
    check_problem(await client.get("/reports/%00"), 422)
    response = await client.get(f"/reports/{unknown}")
    check_problem(response, 404)
    assert response.json()["detail"] == f"there is no report {unknown}"
