"""The tasks: one makes a report of an uploaded file, one ends it if that fails, one cleans up."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import task_session, utc_now
from app.email import EmailMessage, render_email, send_email
from app.tasks import FailedTask, Retry, TaskState, current_runner, report_progress, task

from .analysis import MEMORY_LIMIT, analyse
from .csv_file import CsvError
from .display import visible
from .models import Report
from .settings import ReportSettings
from .uploads import remove_upload, remove_uploads_but, upload_path

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


@task(durable=True, retry=_RETRY)
async def report_failed(failed: FailedTask) -> None:
    """End the report of a task that cannot: of a bug, too slow, cancelled, or killed."""
    report_id = UUID(failed.arguments["report_id"])
    await _finish(report_id, error=ERRORS.get(failed.state, ABANDONED))
    await asyncio.to_thread(remove_upload, report_id)


@task(timeout=TIME_LIMIT, max_concurrency=2, retry=_RETRY, durable=True, on_failure=report_failed)
async def process_report(report_id: UUID) -> None:
    """Read the file, store the result and mail it.

    A process that dies on the way leaves the file and the task to the next. What was finished
    before is not done again, so nobody gets two mails. The file goes when the end is committed:
    if it cannot be, the next attempt needs the file.
    """
    if await _start(report_id):
        await _finish(report_id, **await _result(report_id))
    await asyncio.to_thread(remove_upload, report_id)
    await clean_up()


@task(max_concurrency=1)
async def clean_up() -> None:
    """Delete reports that are older than the retention, and uploads that no report needs."""
    expired = Report.finished_at < utc_now() - timedelta(seconds=ReportSettings().retention)
    async with task_session() as session:
        await session.execute(delete(Report).where(expired))
        needed = set(await session.scalars(select(Report.id).where(Report.finished_at.is_(None))))
    await asyncio.to_thread(remove_uploads_but, needed)


def report_mail(report: Report) -> EmailMessage:
    """Make the mail for a report that is done or failed."""
    # Never from the Host header of a request: whoever sends one could choose where the link leads.
    link = f"{ReportSettings().public_url}".rstrip("/") + f"/reports/{report.id}"
    context = {"report": report, "link": link, "visible": visible}
    return render_email(_TEMPLATES, f"report_{report.status}", to=report.email, context=context)


async def _start(report_id: UUID) -> bool:
    async with task_session() as session:
        report = await session.get_one(Report, report_id)
        if report.finished_at is None:
            report.status = "processing"
        return report.finished_at is None


async def _result(report_id: UUID) -> dict[str, Any]:
    try:
        statistics = await analyse(upload_path(report_id), _report_columns)
    except CsvError as error:
        return {"error": str(error)}
    except (duckdb.OutOfMemoryException, duckdb.TransactionException):
        return {"error": f"its rows are too large to be computed in {MEMORY_LIMIT} of memory"}
    return {"statistics": statistics.model_dump(mode="json")}


def _report_columns(done: int, total: int) -> None:
    report_progress(done, total, f"{done:,} of {total:,} columns are described")


async def _finish(
    report_id: UUID, *, error: str | None = None, statistics: dict[str, Any] | None = None
) -> None:
    async with task_session() as session:
        report = await session.get_one(Report, report_id, with_for_update=True)
        if report.finished_at is None:
            report.status = "failed" if error else "done"
            report.finished_at = utc_now()
            report.error, report.statistics = error, statistics
            # Part of the transaction: the mail goes out if the result is stored, and only then.
            current_runner().submit(send_email, report_mail(report))
