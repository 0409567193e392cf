"""The endpoints: a file goes in, a report and a mail come out; bad input gets a clear answer."""

import asyncio
import re
from collections.abc import Iterator
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.email import EmailMessage
from app.features import reports
from app.features.reports.models import Report
from app.settings import ConfigurationError, Environment, Settings
from app.tasks import TaskRunner
from tests.conftest import API_KEY

from .conftest import SAMPLE, Finish, Upload, files


async def count_reports(app: FastAPI) -> int:
    async with app.state.database.session(read_only=True) as session:
        return await session.scalar(select(func.count()).select_from(Report)) or 0


def is_problem(response: httpx2.Response, status: int) -> bool:
    return (
        response.headers["Content-Type"] == "application/problem+json"
        and response.status_code == response.json()["status"] == status
    )


async def test_upload(upload: Upload, finish: Finish, outbox: list[EmailMessage]) -> None:
    accepted = await upload(SAMPLE)
    body = accepted.json()
    report = await finish(accepted)

    assert accepted.status_code == 202
    assert body == {"id": str(UUID(body["id"])), "status": "pending", "task_id": body["task_id"]}
    assert accepted.headers["Location"] == f"/reports/{body['id']}"
    statistics = report.pop("statistics")
    assert report == {
        "id": body["id"],
        "status": "done",
        "email": "ann@example.com",
        "created_at": report["created_at"],
        "finished_at": report["finished_at"],
        "error": None,
    }
    assert report["created_at"] < report["finished_at"]
    assert statistics["rows"] == 50
    assert [(column["name"], column["type"]) for column in statistics["columns"]] == [
        ("station", "text"),
        ("measured_at", "datetime"),
        ("temperature", "number"),
        ("humidity", "integer"),
        ("battery_low", "boolean"),
        ("operator_note", "text"),
    ]
    assert files() == []
    (mail,) = outbox
    assert (mail.to, mail.subject) == (("ann@example.com",), "Your report is done: 50 rows")
    assert f"    http://localhost:8000/reports/{body['id']}\n" in mail.text
    assert "temperature (number)\n    48 values, 2 empty, 28 different\n" in mail.text


async def test_a_ragged_row_is_named(
    upload: Upload, finish: Finish, outbox: list[EmailMessage]
) -> None:
    report = await finish(await upload(b"a,b\n1,2\n3\n"))

    assert (report["status"], report["statistics"]) == ("failed", None)
    assert report["error"] == "row 3: it has fewer cells than the header, which has 2"
    assert files() == []
    assert report["error"] in outbox[0].text


async def test_an_empty_file_is_refused_at_once(app: FastAPI, upload: Upload) -> None:
    response = await upload(b"")

    assert is_problem(response, 422)
    assert response.json()["detail"] == "the file is empty"
    assert await count_reports(app) == 0
    assert files() == []


async def test_bad_addresses_are_refused(app: FastAPI, upload: Upload) -> None:
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

        assert is_problem(response, 422), email
        assert response.json()["errors"][0]["loc"] == ["body", "email"]
    assert await count_reports(app) == 0
    assert files() == []


async def test_priorities(upload: Upload, runner: TaskRunner) -> None:
    for priority, expected in {"high": 3, "URGENT": 0, "Idle": 9, "0": 0, "7": 7, "": 5}.items():
        response = await upload(priority=priority)
        record = await runner.store.get(response.json()["task_id"])

        assert record is not None
        assert record.priority == expected


async def test_bad_priorities_are_refused(app: FastAPI, upload: Upload) -> None:
    for priority in ["10", "-1", "5.5", "often", "True", "9" * 5000]:
        response = await upload(priority=priority)

        assert is_problem(response, 422)
        (error,) = response.json()["errors"]
        assert error["loc"] == ["body", "priority"]
    assert await count_reports(app) == 0


async def test_missing_parts_are_refused(client: httpx2.AsyncClient) -> None:
    email = {"email": "ann@example.com"}
    file = {"file": ("x.csv", b"a\n1\n")}

    assert is_problem(await client.post("/reports", data=email), 422)
    assert is_problem(await client.post("/reports", data={**email, "file": "a,b"}), 422)
    assert is_problem(await client.post("/reports", files=file), 422)
    assert is_problem(await client.post("/reports", json=email), 422)
    assert files() == []


@pytest.fixture
def small_limit(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("MAX_UPLOAD_BYTES", "1000")


@pytest.mark.usefixtures("small_limit")
async def test_a_file_over_the_limit(upload: Upload) -> None:
    response = await upload(b"a" * 1001)

    assert is_problem(response, 413)
    assert response.json()["detail"] == "the file is larger than 1000 bytes"
    assert is_problem(await upload(b"a" * 200_000), 413)  # more than the route reads
    assert files() == []


async def test_the_address_of_a_report_begins_with_the_root_path(app: FastAPI) -> None:
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


async def test_bad_ids(client: httpx2.AsyncClient) -> None:
    unknown = uuid4()

    assert is_problem(await client.get("/reports/1"), 422)
    assert is_problem(await client.get("/reports/%00"), 422)
    response = await client.get(f"/reports/{unknown}")
    assert is_problem(response, 404)
    assert response.json()["detail"] == f"there is no report {unknown}"


async def test_a_key_is_needed(client: httpx2.AsyncClient) -> None:
    assert is_problem(await client.get(f"/reports/{uuid4()}", headers={"X-API-Key": ""}), 401)


@pytest.fixture
def small_queue(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("TASKS_MAX_CONCURRENCY", "1")
    settings_env.setenv("TASKS_QUEUE_SIZE", "1")


@pytest.mark.usefixtures("small_queue")
async def test_a_full_queue_leaves_nothing(
    app: FastAPI, upload: Upload, runner: TaskRunner
) -> None:
    gate = asyncio.Event()
    for _ in range(2):  # one runs, one waits
        runner.submit(gate.wait)

    response = await upload()
    gate.set()

    assert is_problem(response, 503)
    assert "Retry-After" in response.headers
    assert files() == []
    assert await count_reports(app) == 0


@pytest.fixture
def broken_commits() -> Iterator[None]:
    def fail(session: Session) -> None:
        if any(isinstance(row, Report) for row in session.new):
            raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    event.listen(Session, "before_commit", fail)
    yield
    event.remove(Session, "before_commit", fail)


@pytest.mark.usefixtures("broken_commits")
async def test_a_failed_commit_leaves_nothing(
    app: FastAPI, upload: Upload, runner: TaskRunner, outbox: list[EmailMessage]
) -> None:
    response = await upload()
    await runner.join(5)

    assert is_problem(response, 503)
    assert files() == []
    assert await count_reports(app) == 0
    assert outbox == []


async def test_a_quota_below_one_upload_stops_the_start(settings_env: pytest.MonkeyPatch) -> None:
    from app.main import create_app  # noqa: PLC0415 - importing it reads the settings

    settings_env.setenv("MAX_UPLOAD_BYTES", "2MiB")
    settings_env.setenv("REPORTS_MAX_STORED_BYTES", "1MiB")
    app = create_app()  # as migrations do, which know nothing of uploads

    with pytest.raises(ConfigurationError, match="REPORTS_MAX_STORED_BYTES"):
        await app.router.lifespan_context(app).__aenter__()


@pytest.mark.parametrize(
    ("environment", "url", "warned"),
    [
        (Environment.PRODUCTION, "http://localhost:8000", True),
        (Environment.PRODUCTION, "http://127.0.0.1", True),
        (Environment.PRODUCTION, "http://[::1]:8000", True),
        (Environment.PRODUCTION, "https://reports.example.com", False),
        (Environment.TEST, "http://localhost:8000", False),
    ],
)
async def test_production_links_lead_to_the_service(
    app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    environment: Environment,
    url: str,
    warned: bool,
) -> None:
    monkeypatch.setenv("REPORTS_PUBLIC_URL", url)
    settings: Settings = app.state.settings.model_copy(update={"environment": environment})
    lifespan = reports.create_feature(settings).lifespan
    assert lifespan is not None

    async with lifespan(app):
        assert caplog.text.count("REPORTS_PUBLIC_URL") == warned


async def test_the_api_is_documented(client: httpx2.AsyncClient) -> None:
    api = (await client.get("/openapi.json")).json()

    post = api["paths"]["/reports"]["post"]
    assert {"202", "413", "422", "503"} <= post["responses"].keys()
    for path, statuses in {"/reports": {"200"}, "/reports/{report_id}": {"200", "404"}}.items():
        responses = api["paths"][path]["get"]["responses"]
        assert responses.keys() >= statuses
        assert responses["200"]["content"].keys() == {"application/json", "text/html"}
