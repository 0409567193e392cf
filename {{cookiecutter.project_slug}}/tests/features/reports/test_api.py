"""The endpoints: an upload becomes a report and a mail, and bad input a clear error."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from fastapi import FastAPI

from app.mail import EmailMessage
from app.tasks import TaskRunner
from tests.conftest import TEST, serve
from tests.problems import check_problem

from .conftest import SAMPLE, Finish, Upload, files


@pytest.fixture(scope="module")
async def app(shared_database_url: str) -> AsyncIterator[FastAPI]:
    limit = {"MAX_UPLOAD_BYTES": "10000"}
    async with serve(DATABASE_URL=shared_database_url, **TEST, **limit) as app:
        yield app


async def test_an_upload_becomes_a_report_and_a_mail(
    upload: Upload, finish: Finish, outbox: list[EmailMessage]
) -> None:
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
        "task_id": body["task_id"],
        "file_name": "x.csv",
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
    assert (mail.to, mail.subject) == ("ann@example.com", "Your report is done: 50 rows")
    assert f"    http://localhost:8000/reports/{body['id']}\n" in mail.text
    assert "temperature (number)\n    48 values, 2 empty, 28 distinct\n" in mail.text


async def test_a_row_that_lacks_a_column_is_named_in_the_error(
    upload: Upload, finish: Finish, outbox: list[EmailMessage]
) -> None:
    report = await finish(await upload(b"a,b\n1,2\n3\n"))

    assert (report["status"], report["statistics"]) == ("failed", None)
    assert report["error"] == "row 3: expected number of columns: 2, found 1"
    assert files() == []
    assert report["error"] in outbox[0].text


@pytest.mark.usefixtures("analyse")
async def test_an_upload_can_have_a_priority(upload: Upload, runner: TaskRunner) -> None:
    for priority, expected in {"urgent": 0, "high": 3, "idle": 9}.items():
        response = await upload(priority=priority)
        record = await runner.store.get(response.json()["task_id"])

        assert record is not None
        assert record.priority == expected


async def test_a_file_over_the_limit_is_refused(upload: Upload) -> None:
    response = await upload(b"a" * 10_001)

    check_problem(response, 413)
    assert response.json()["detail"] == "the request body is larger than 10000 bytes"
    assert files() == []
