"""The task: however a run ends, the report says so."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.exc import OperationalError

from app.db import task_session, utc_now
from app.features.reports.models import Report
from app.features.reports.tasks import ERRORS
from app.mail import EmailMessage
from app.tasks import TaskRunner, TaskState

from .conftest import Analysis, Finish, Upload, files

LOCKED = OperationalError("UPDATE", {}, Exception("the database is locked"))


@pytest.mark.usefixtures("settings_env")
def test_the_start_does_not_import_what_only_a_report_needs() -> None:
    code = "import sys, app.main; print('duckdb' in sys.modules)"
    root = Path(__file__).parents[3]

    command = [sys.executable, "-c", code]
    printed = subprocess.check_output(command, cwd=root, text=True)  # noqa: S603 - our own code

    assert printed.splitlines()[-1] == "False"


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
