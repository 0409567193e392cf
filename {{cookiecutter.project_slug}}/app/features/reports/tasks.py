"""The tasks: one turns an uploaded file into a report, the other marks the report as failed."""

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
from .pages import COMMON_CONTEXT
from .settings import report_settings

TIME_LIMIT = 300.0
"""Seconds for one file; 100 MB take about 10."""
ABANDONED = "processing was given up; upload the file again"
ERRORS = {
    TaskState.FAILED: "internal error; it has been reported",
    TaskState.TIMED_OUT: f"it took longer than {TIME_LIMIT:.0f} seconds",
}
_TEMPLATES = Path(__file__).parent / "templates"
_RETRY = Retry(attempts=6, on=(OperationalError, PoolTimeoutError), delay=0.2)
"""For a database that is locked or away for a while. A run that crashed is an attempt, too."""


def upload_path(report_id: UUID) -> Path:
    """Return the path of a report's file, in a folder of its own, whether or not it exists."""
    return report_settings().upload_dir / f"{report_id}" / "upload.csv"


def remove_upload(report_id: UUID) -> None:
    """Remove a report's file, and the files that were made of it, if they exist."""
    shutil.rmtree(upload_path(report_id).parent, ignore_errors=True)


@task(durable=True, retry=_RETRY)
async def report_failed(failed: FailedTask) -> None:
    """Mark a report as failed after its task has failed, timed out, died or been cancelled.

    The file stays as long as the report, so that the task can be retried.
    """
    await _end(UUID(failed.arguments["report_id"]), error=ERRORS.get(failed.state, ABANDONED))


@task(timeout=TIME_LIMIT, max_concurrency=2, retry=_RETRY, durable=True, on_failure=report_failed)
async def process_report(report_id: UUID) -> None:
    """Read the file, store the result and mail it. Raises LookupError when the report has expired.

    If the process dies, another one runs the task again, with the same file. A report that was
    finished before is not made again, so nobody gets two mails.
    """
    if await _begin(report_id):
        await _end(report_id, **await _compute(report_id))
    # Only after the commit: if that fails, the next attempt needs the file.
    await asyncio.to_thread(remove_upload, report_id)


async def _begin(report_id: UUID) -> bool:
    """Mark a report as processing; return False if an earlier attempt has finished it.

    The first attempt at a failed report means that somebody has retried the task.
    """
    info = current_task()
    async with task_session() as session:
        report = await session.get(Report, report_id)
        if report is None:
            msg = "the report has expired, and its file with it: upload the file again"
            raise LookupError(msg)
        is_retried = report.status == "failed" and info is not None and info.attempt == 1
        if report.finished_at and not is_retried:
            return False
        report.status, report.error, report.finished_at = "processing", None, None
        return True


async def _compute(report_id: UUID) -> dict[str, Any]:
    """Return the statistics, or an error for the person who uploaded the file."""
    # Imported late, because it takes 22 MB; and in a thread, so that requests do not wait for it.
    await asyncio.to_thread(import_module, "duckdb")
    from .columns import analyse  # noqa: PLC0415 - see above

    try:
        statistics = await analyse(upload_path(report_id), report_progress)
    except FileNotFoundError:  # the task was retried, perhaps on another machine
        return {"error": "the file is gone; upload it again"}
    except CsvError as error:
        return {"error": str(error)}
    return {"statistics": statistics.model_dump(mode="json")}


async def _end(
    report_id: UUID, *, error: str | None = None, statistics: dict[str, Any] | None = None
) -> None:
    """Store and mail the result unless the report is finished, and delete expired reports."""
    expired = Report.finished_at < utc_now() - timedelta(seconds=report_settings().retention)
    async with task_session() as session:
        deleted = (await session.scalars(delete(Report).where(expired).returning(Report.id))).all()
        report = await session.get(Report, report_id, with_for_update=True)
        if report and report.finished_at is None:
            report.status = "failed" if error else "done"
            report.finished_at = utc_now()
            report.error, report.statistics = error, statistics
            # In the transaction, so that the mail is sent if, and only if, the result is stored.
            current_runner().submit(send_email, report_mail(report))
    for deleted_id in deleted:
        await asyncio.to_thread(remove_upload, deleted_id)


def report_mail(report: Report) -> EmailMessage:
    """Make the mail for a report that is done or failed."""
    link = f"{report_settings().public_url}".rstrip("/") + f"/reports/{report.id}"
    context = {**COMMON_CONTEXT, "report": report, "link": link}
    return render_email(_TEMPLATES, "mail", to=report.email, context=context)
