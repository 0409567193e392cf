"""`/reports` takes uploads, `/reports/{id}` returns a report, as JSON or as a page."""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import event, select

from app.db import ReadSessionDep, SessionDep
from app.files import write_private
from app.mail import EmailAddress
from app.pages import VARY, StaticFolder, prefers_html
from app.settings import Settings
from app.tasks import Priority, Tasks
from app.urls import root_path

from .models import MAX_FILE_NAME, Report
from .pages import show, visible
from .schemas import ReportAccepted, ReportDetail
from .tasks import process_report, remove_upload, upload_path

_PAGE: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}


def make_router(settings: Settings) -> APIRouter:
    """Make the routes; only the one for uploads accepts a large body."""
    router = APIRouter(tags=["reports (example)"])
    router.mount("/static/reports", StaticFolder(Path(__file__).with_name("static")))
    router.post(
        "/reports",
        status_code=202,
        response_model=ReportAccepted,
        responses={
            303: {"description": "Accepted, for a browser: redirects to the page of the report"},
            413: {"description": "The upload is larger than `MAX_UPLOAD_BYTES`"},
            503: {"description": "The task queue or the disk is full"},
        },
        max_body_size=settings.max_upload_bytes,
        form_limits={"max_files": 1, "max_fields": 8, "max_part_size": 8 * 1024},
    )(upload_report)
    router.get("/reports", response_class=HTMLResponse)(show_form)
    path = "/reports/{report_id}"
    router.get(path, response_model=ReportDetail, responses={200: _PAGE})(read_report)
    return router


async def upload_report(
    request: Request,
    file: Annotated[
        UploadFile,
        File(description="a CSV file with a header; delimiters: comma, semicolon, tab or |"),
    ],
    email: Annotated[EmailAddress, Form(description="where the result is sent")],
    session: SessionDep,
    tasks: Tasks,
    response: Response,
    priority: Annotated[Literal["urgent", "high", "normal", "low", "idle"], Form()] = "normal",
) -> Any:
    """Accept a file and answer at once. The statistics follow by e-mail and at `Location`."""
    report_id = uuid4()
    # First, because a full queue refuses the task; it starts after the session has committed.
    task_id = tasks.add_task(process_report, report_id, priority=Priority[priority.upper()])
    # If nothing is committed, no file may stay.
    event.listen(session.sync_session, "after_rollback", lambda _: remove_upload(report_id))
    await asyncio.to_thread(write_private, upload_path(report_id), file.file)
    name = visible(file.filename)[:MAX_FILE_NAME]
    session.add(Report(id=report_id, email=email, file_name=name, task_id=task_id))
    # Never from the Host header, because the caller chooses that.
    location = f"{root_path(request.scope)}/reports/{report_id}"
    if prefers_html(request):
        return RedirectResponse(location, HTTPStatus.SEE_OTHER, VARY)
    response.headers.update(VARY | {"Location": location})
    return ReportAccepted(id=report_id, status="pending", task_id=task_id)


async def show_form(request: Request, session: ReadSessionDep) -> Response:
    """Show the upload form and the latest reports."""
    columns = Report.id, Report.file_name, Report.status, Report.created_at
    latest = await session.execute(select(*columns).order_by(Report.created_at.desc()).limit(20))
    return show(request, "upload.html.j2", latest=latest.all())


async def read_report(
    request: Request,
    report_id: UUID,
    session: ReadSessionDep,
    response: Response,
    as_json: Annotated[bool, Query(description="send JSON to a browser, too")] = False,
) -> Any:
    """Return a report. Its status is `pending`, `processing`, and finally `done` or `failed`."""
    report = await session.get(Report, report_id)
    if as_json or not prefers_html(request):
        if report is None:
            raise HTTPException(404, f"there is no report {report_id}")
        response.headers.update(VARY)
        return report
    if report is None:
        return show(request, "upload.html.j2", HTTPStatus.NOT_FOUND, latest=[])
    task = await request.app.state.runner.describe(report.task_id)
    return show(request, "report.html.j2", report=report, progress=task and task.progress)
