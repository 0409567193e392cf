"""The task: however a run ends, the report says so."""

from datetime import timedelta

import httpx2
from sqlalchemy.exc import OperationalError

from app.db import task_session, utc_now
from app.features.reports.models import Report
from app.features.reports.tasks import ERRORS
from app.mail import EmailMessage
from app.tasks import TaskRunner, TaskState

from .conftest import Analysis, Finish, Upload, files

LOCKED = OperationalError("UPDATE", {}, Exception("the database is locked"))


async def test_a_bug(
    analyse: Analysis,
    upload: Upload,
    finish: Finish,
    runner: TaskRunner,
    outbox: list[EmailMessage],
) -> None:
    analyse.errors = [RuntimeError("the secret path")]

    report = await finish(await upload())

    assert (report["status"], report["error"]) == ("failed", ERRORS[TaskState.FAILED])
    assert report["finished_at"] is not None
    assert runner.snapshot().failed == 1
    assert report["error"] in outbox[0].text
    assert files() == []


async def test_what_is_old_is_removed(
    upload: Upload, finish: Finish, client: httpx2.AsyncClient
) -> None:
    expired = utc_now() - timedelta(days=91)
    async with task_session() as session:
        session.add(Report(task_id="", email="", finished_at=expired))

    accepted = await upload()
    await finish(accepted)

    assert {report["id"] for report in (await client.get("/reports")).json()} == {
        accepted.json()["id"]
    }
