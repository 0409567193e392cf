"""`POST /reports` takes a file, `GET /reports/{id}` tells what became of it."""

from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, File, Form, Response, UploadFile
from sqlalchemy import select

from app.db import ReadSessionDep, SessionDep
from app.email import EmailAddress
from app.errors import NotFound, Unprocessable, problem_responses
from app.tasks import Priority, Tasks
from app.tasks.durable import metadata

from .leftovers import ABANDONED, is_abandoned
from .models import Report, ReportStatus
from .schemas import AnyPriority, ReportAccepted, ReportDetail
from .tasks import process_report
from .uploads import keep_upload

router = APIRouter(prefix="/reports", tags=["reports (example)"])

_TASKS = metadata.tables["background_tasks"]


def _problem(description: str) -> dict[str, Any]:
    return {**problem_responses()["default"], "description": description}


@router.post(
    "",
    status_code=202,
    summary="Upload a CSV file",
    responses={
        413: _problem("The file is larger than `MAX_UPLOAD_BYTES`"),
        503: _problem("Too many tasks wait; try again after `Retry-After` seconds"),
    },
)
async def upload_report(
    file: Annotated[
        UploadFile,
        File(description="UTF-8, or UTF-16 with a byte order mark; cells end at a , or ; or tab"),
    ],
    email: Annotated[EmailAddress, Form(description="who gets the result")],
    session: SessionDep,
    tasks: Tasks,
    response: Response,
    priority: Annotated[
        AnyPriority, Form(description="urgent, high, normal, low, idle, or a number from 0 to 9")
    ] = Priority.NORMAL,
) -> ReportAccepted:
    """Take a file in and answer at once. The statistics follow by e-mail, and at `Location`."""
    if not file.size:
        msg = "the file is empty"
        raise Unprocessable(msg)
    report_id = uuid4()
    await keep_upload(file, report_id, session)
    task_id = tasks.add_task(process_report, report_id, priority=priority)
    session.add(Report(id=report_id, email=email, task_id=task_id))
    response.headers["Location"] = f"{router.prefix}/{report_id}"
    return ReportAccepted(id=report_id, status=ReportStatus.PENDING, task_id=task_id)


@router.get("/{report_id}", summary="Read a report", responses={404: _problem("Not found")})
async def read_report(report_id: UUID, session: ReadSessionDep) -> ReportDetail:
    """Return a report: `pending`, `processing`, or in the end `done` or `failed`."""
    query = select(Report, _TASKS.c.state).outerjoin(_TASKS, _TASKS.c.id == Report.task_id)
    row = (await session.execute(query.where(Report.id == report_id))).one_or_none()
    if row is None:
        msg = f"there is no report {report_id}"
        raise NotFound(msg)
    report, task_state = row
    detail = ReportDetail.model_validate(report)
    if report.finished_at is None and is_abandoned(task_state):  # soon it will be written down
        return detail.model_copy(update={"status": ReportStatus.FAILED, "error": ABANDONED})
    return detail
