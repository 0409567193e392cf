"""The tasks: one makes a report of an uploaded file, the other ends it if that fails."""

import asyncio
import shutil
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import task_session, utc_now
from app.mail import EmailMessage, render_email, send_email
from app.tasks import (
    FailedTask,
    Retry,
    TaskState,
    current_runner,
    current_task,
    report_progress,
    task,
)

from .csv_file import CsvError
from .models import Report
from .pages import WORDS
from .settings import report_settings

TIME_LIMIT = 300.0
"""Seconds for one file; 100 MB take about 10."""
ABANDONED = "the work was given up; upload again"
ERRORS = {
    TaskState.FAILED: "internal error; it has been reported",
    TaskState.TIMED_OUT: f"it took longer than {TIME_LIMIT:.0f} seconds",
}
_TEMPLATES = Path(__file__).parent / "templates"
_RETRY = Retry(attempts=6, on=(OperationalError, PoolTimeoutError), delay=0.2)
"""A database that is locked or away for a while. A crash while it runs is an attempt, too."""


def upload_path(report_id: UUID) -> Path:
    """Return where a report's file is, in a folder of its own, whether or not there is one."""
    return report_settings().upload_dir / f"{report_id}" / "upload.csv"


def remove_upload(report_id: UUID) -> None:
    """Remove a report's file, and what was made of it, if it is there."""
    shutil.rmtree(upload_path(report_id).parent, ignore_errors=True)


@task(durable=True, retry=_RETRY)
async def report_failed(failed: FailedTask) -> None:
    """End the report of a task that cannot: of a bug, too slow, cancelled, or killed.

    The file stays as long as the report does, so that the task can be started over.
    """
    await _end(UUID(failed.arguments["report_id"]), error=ERRORS.get(failed.state, ABANDONED))


@task(timeout=TIME_LIMIT, max_concurrency=2, retry=_RETRY, durable=True, on_failure=report_failed)
async def process_report(report_id: UUID) -> None:
    """Read the file, store the result and mail it. Raises LookupError when the report has expired.

    A process that dies on the way leaves the file and the task to the next. What was finished
    before is not done again, so nobody gets two mails.
    """
    if await _begin(report_id):
        await _end(report_id, **await _compute(report_id))
    # Only when that is committed: if it cannot be, the next attempt needs the file.
    await asyncio.to_thread(remove_upload, report_id)


async def _begin(report_id: UUID) -> bool:
    """Say that a report is being made; False if an attempt before has stored its end.

    The first attempt at one that failed is that of a task which somebody has started over.
    """
    info = current_task()
    async with task_session() as session:
        report = await session.get(Report, report_id)
        if report is None:
            msg = "the report has expired, and its file with it: upload it again"
            raise LookupError(msg)
        starts_over = report.status == "failed" and info is not None and info.attempt == 1
        if report.finished_at and not starts_over:
            return False
        report.status, report.error, report.finished_at = "processing", None, None
        return True


async def _compute(report_id: UUID) -> dict[str, Any]:
    """Return the statistics, or the error that is meant for who has sent the file."""
    # Not at the start: it takes 22 MB. In a thread: it takes a while, and requests do not wait.
    await asyncio.to_thread(import_module, "duckdb")
    from .columns import analyse  # noqa: PLC0415 - see above

    try:
        statistics = await analyse(upload_path(report_id), report_progress)
    except FileNotFoundError:  # the task was started over, on another machine perhaps
        return {"error": "the file is gone; upload it again"}
    except CsvError as error:
        return {"error": str(error)}
    return {"statistics": statistics.model_dump(mode="json")}


async def _end(
    report_id: UUID, *, error: str | None = None, statistics: dict[str, Any] | None = None
) -> None:
    """Store the end of a report unless it has one, mail it, and delete what has expired."""
    expired = Report.finished_at < utc_now() - timedelta(seconds=report_settings().retention)
    async with task_session() as session:
        gone = (await session.scalars(delete(Report).where(expired).returning(Report.id))).all()
        report = await session.get(Report, report_id, with_for_update=True)
        if report and report.finished_at is None:
            report.status = "failed" if error else "done"
            report.finished_at = utc_now()
            report.error, report.statistics = error, statistics
            # Part of the transaction: the mail goes out if the result is stored, and only then.
            current_runner().submit(send_email, report_mail(report))
    for one in gone:
        await asyncio.to_thread(remove_upload, one)


def report_mail(report: Report) -> EmailMessage:
    """Make the mail for a report that is done or failed."""
    link = f"{report_settings().public_url}".rstrip("/") + f"/reports/{report.id}"
    context = {**WORDS, "report": report, "link": link}
    return render_email(_TEMPLATES, "mail", to=report.email, context=context)
