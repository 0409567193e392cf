"""The task: however it ends, the report says so."""

from datetime import timedelta
from uuid import UUID

import httpx2

from app.db import task_session, utc_now
from app.features.reports.models import Report
from app.features.reports.tasks import ERRORS
from app.mail import EmailMessage
from app.tasks import TaskRunner, TaskState

from .conftest import Analysis, Finish, Upload, files


async def test_a_bug_fails_the_report_and_is_not_revealed(
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
    assert len(files()) == 1  # kept, so that the task can be retried


async def test_a_retry_of_the_task_finishes_a_failed_report(
    analyse: Analysis,
    upload: Upload,
    finish: Finish,
    client: httpx2.AsyncClient,
    outbox: list[EmailMessage],
) -> None:
    analyse.errors = [RuntimeError("a bug")]
    accepted = await upload()
    failed = await finish(accepted)
    retried = await client.post(f"/tasks/{failed['task_id']}/retry")
    report = await finish(accepted)

    assert (failed["status"], retried.status_code) == ("failed", 202)
    assert (report["status"], report["error"]) == ("done", None)
    assert len(outbox) == 2
    assert files() == []


async def test_expired_reports_and_their_files_are_removed(
    analyse: Analysis,
    upload: Upload,
    finish: Finish,
    client: httpx2.AsyncClient,
    runner: TaskRunner,
) -> None:
    analyse.errors = [RuntimeError("a bug")]
    old = await finish(await upload())
    async with task_session() as session:
        report = await session.get_one(Report, UUID(old["id"]))
        report.finished_at = utc_now() - timedelta(days=91)
    await finish(await upload())
    await client.post(f"/tasks/{old['task_id']}/retry")
    await runner.join(5)

    assert (await client.get(f"/reports/{old['id']}")).status_code == 404
    assert files() == []
    task = (await client.get(f"/tasks/{old['task_id']}")).json()
    assert task["error"].startswith("LookupError: the report has expired")
