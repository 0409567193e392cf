"""`/reports` takes files and lists reports, `/reports/{id}` tells what became of one.

Programs get JSON, and browsers get pages.
"""

from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import defer

from app.db import ReadSessionDep, SessionDep
from app.email import EmailAddress
from app.errors import NotFound, Unprocessable, problem_responses
from app.pages import StaticFolder, prefers_html
from app.tasks import Priority, Tasks, TaskState
from app.tasks.durable import metadata

from .display import file_name
from .leftovers import ABANDONED, is_abandoned
from .models import Report, ReportStatus
from .pages import PREFIX, report_page, upload_page
from .problem_pages import remember_entry
from .schemas import AnyPriority, ReportAccepted, ReportDetail, ReportSummary
from .tasks import process_report
from .uploads import keep_upload

View = TypeVar("View", ReportDetail, ReportSummary)

_LISTED = 20
_PAGE: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}
_TASKS = metadata.tables["background_tasks"]
_REPORTS = select(Report, _TASKS.c.state).outerjoin(_TASKS, _TASKS.c.id == Report.task_id)


def _problem(description: str) -> dict[str, Any]:
    return {**problem_responses()["default"], "description": description}


def _in_present_state(view: View, task_state: TaskState | None) -> View:
    """Say at once that a report has failed; `leftovers.py` is going to write it down."""
    if view.finished_at is None and is_abandoned(task_state):
        return view.model_copy(update={"status": ReportStatus.FAILED, "error": ABANDONED})
    return view


router = APIRouter(tags=["reports (example)"])
router.mount(f"/static{PREFIX}", StaticFolder(Path(__file__).with_name("static")))


@router.post(
    PREFIX,
    status_code=202,
    summary="Upload a CSV file",
    response_model=ReportAccepted,
    responses={
        303: {"description": "The same for a browser: go to the page of the report"},
        413: _problem("The file is larger than `MAX_UPLOAD_BYTES`"),
        503: _problem("Too many tasks wait; try again after `Retry-After` seconds"),
    },
    dependencies=[Depends(remember_entry)],
)
async def upload_report(
    request: Request,
    file: Annotated[
        UploadFile,
        File(description="with a header; cells end at a comma, a semicolon, a tab or a |"),
    ],
    email: Annotated[EmailAddress, Form(description="who gets the result")],
    session: SessionDep,
    tasks: Tasks,
    response: Response,
    priority: Annotated[
        AnyPriority, Form(description="urgent, high, normal, low, idle, or a number from 0 to 9")
    ] = Priority.NORMAL,
) -> ReportAccepted | Response:
    """Take a file in and answer at once. The statistics follow by e-mail, and at `Location`."""
    if not file.size:
        msg = "the file is empty"
        raise Unprocessable(msg)
    report_id = uuid4()
    await keep_upload(file, report_id, session)
    task_id = tasks.add_task(process_report, report_id, priority=priority)
    name = file_name(file.filename)
    session.add(Report(id=report_id, email=email, file_name=name, task_id=task_id))
    location = f"{PREFIX}/{report_id}"
    if prefers_html(request):
        return RedirectResponse(location, status_code=303)
    response.headers["Location"] = location
    return ReportAccepted(id=report_id, status=ReportStatus.PENDING, task_id=task_id)


@router.get(
    PREFIX,
    summary="List the latest reports",
    response_model=list[ReportSummary],
    responses={200: _PAGE},
)
async def list_reports(request: Request, session: ReadSessionDep) -> list[ReportSummary] | Response:
    """Return the latest reports, the newest first. A browser gets a form to upload a file."""
    query = _REPORTS.order_by(Report.created_at.desc()).limit(_LISTED)
    rows = await session.execute(query.options(defer(Report.statistics, raiseload=True)))
    latest = [_in_present_state(ReportSummary.model_validate(row[0]), row[1]) for row in rows]
    return upload_page(request, latest) if prefers_html(request) else latest


@router.get(
    PREFIX + "/{report_id}",
    summary="Read a report",
    response_model=ReportDetail,
    responses={200: _PAGE, 404: _problem("Not found")},
)
async def read_report(
    request: Request, report_id: UUID, session: ReadSessionDep
) -> ReportDetail | Response:
    """Return a report: `pending`, `processing`, or in the end `done` or `failed`."""
    row = (await session.execute(_REPORTS.where(Report.id == report_id))).one_or_none()
    if row is None:
        msg = f"there is no report {report_id}"
        raise NotFound(msg)
    report, task_state = row
    if prefers_html(request):
        summary = _in_present_state(ReportSummary.model_validate(report), task_state)
        return report_page(request, summary, report.email, report.statistics)
    return _in_present_state(ReportDetail.model_validate(report), task_state)
