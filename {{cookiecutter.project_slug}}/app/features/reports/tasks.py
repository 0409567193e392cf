"""The tasks: one makes a report of an uploaded file, the other ends it if that fails."""

import asyncio
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
from app.tasks import FailedTask, Retry, TaskState, current_runner, report_progress, task

from .columns import MEMORY_LIMIT, analyse
from .csv_file import CsvError
from .display import SHOWN_COLUMNS, counted, readable, visible
from .models import Report
from .settings import ReportSettings
from .uploads import remove_upload, upload_path

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


@task(timeout=TIME_LIMIT, max_concurrency=2, retry=_RETRY, durable=True, on_failure=report_failed)
async def process_report(report_id: UUID) -> None:
    """Read the file, store the result and mail it.

    A process that dies on the way leaves the file and the task to the next. What was finished
    before is not done again, so nobody gets two mails.
    """
    async with task_session() as session:
        report = await session.get(Report, report_id)
        is_open = report is not None and report.finished_at is None
        if report and is_open:
            report.status = "processing"
    await _finish(report_id, **(await _result(report_id) if is_open else {}))


async def _result(report_id: UUID) -> dict[str, Any]:
    # Not at the start: it takes 22 MB. In a thread: it takes a while, and requests do not wait.
    duckdb = await asyncio.to_thread(import_module, "duckdb")
    try:
        statistics = await analyse(upload_path(report_id), _report_columns)
    except CsvError as error:
        return {"error": str(error)}
    except (duckdb.OutOfMemoryException, duckdb.TransactionException):
        return {"error": f"its rows are too large to be computed in {MEMORY_LIMIT} of memory"}
    return {"statistics": statistics.model_dump(mode="json")}


def _report_columns(done: int, total: int) -> None:
    report_progress(done, total, f"{done:,} of {counted(total, 'column')} described")


async def _finish(
    report_id: UUID, *, error: str | None = None, statistics: dict[str, Any] | None = None
) -> None:
    """Store the end of a report unless it has one, mail it, and delete what has expired.

    The file goes when that is committed: if it cannot be, the next attempt needs the file.
    """
    expired = utc_now() - timedelta(seconds=ReportSettings().retention)
    async with task_session() as session:
        await session.execute(delete(Report).where(Report.finished_at < expired))
        report = await session.get(Report, report_id, with_for_update=True)
        if report and report.finished_at is None:
            report.status = "failed" if error else "done"
            report.finished_at = utc_now()
            report.error, report.statistics = error, statistics
            # Part of the transaction: the mail goes out if the result is stored, and only then.
            current_runner().submit(send_email, report_mail(report))
    await asyncio.to_thread(remove_upload, report_id)


def report_mail(report: Report) -> EmailMessage:
    """Make the mail for a report that is done or failed."""
    # Never from the Host header of a request: whoever sends one could choose where the link leads.
    link = f"{ReportSettings().public_url}".rstrip("/") + f"/reports/{report.id}"
    words = {"counted": counted, "readable": readable, "visible": visible}
    context = {**words, "report": report, "link": link, "shown_columns": SHOWN_COLUMNS}
    return render_email(_TEMPLATES, "mail", to=report.email, context=context)
