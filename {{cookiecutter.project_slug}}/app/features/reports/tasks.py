"""The task that turns an uploaded file into a report."""

from typing import Any
from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import task_session
from app.email import send_email
from app.tasks import Retry, current_runner, current_task, task

from .analysis import TIME_LIMIT, CsvError, analyse
from .mail import report_mail
from .models import Report
from .settings import ReportSettings
from .uploads import remove_upload, upload_path

INTERNAL = "internal error; it has been reported"

_RETRY = Retry(attempts=6, on=(OperationalError, PoolTimeoutError), delay=0.2)
"""A database that is locked or away for a moment. A crash while it runs is an attempt, too."""


@task(
    timeout=TIME_LIMIT + 60,
    max_concurrency=2,
    retry=_RETRY,
    durable=True,
)
async def process_report(report_id: UUID) -> None:
    """Read the file, store the result and mail it.

    A process that dies on the way leaves the file and the task to the next. What was finished
    before is not done again, so nobody gets two mails. The file goes when the end is committed:
    if it cannot be, the next attempt needs the file.
    """
    try:
        if await _start(report_id):
            await _finish(report_id, **await _result(report_id))
    except Exception as error:
        if not _is_retried(error):
            await _finish(report_id, error=INTERNAL)
            await remove_upload(report_id)
        raise  # it is logged and mailed to the operators like any failure
    await remove_upload(report_id)


async def _start(report_id: UUID) -> bool:
    async with task_session() as session:
        report = await session.get_one(Report, report_id)
        if report.finished_at is None:
            report.status = "processing"
        return report.finished_at is None


async def _result(report_id: UUID) -> dict[str, Any]:
    try:
        statistics = await analyse(upload_path(report_id), ReportSettings().max_columns)
    except CsvError as error:
        return {"error": str(error)}
    return {"statistics": statistics.model_dump(mode="json")}


async def _finish(
    report_id: UUID, *, error: str | None = None, statistics: dict[str, Any] | None = None
) -> None:
    async with task_session() as session:
        report = await session.get_one(Report, report_id, with_for_update=True)
        if report.finish(error=error, statistics=statistics):
            # Part of the transaction: the mail goes out if the result is stored, and only then.
            current_runner().submit(send_email, report_mail(report))


def _is_retried(error: Exception) -> bool:
    this = current_task()
    return this is not None and _RETRY.wants(error, this.attempt)
