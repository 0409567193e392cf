"""`/reports` takes files, `/reports/{id}` tells what became of one: in JSON, or as a page."""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import (
    APIRouter,
    Depends,
    File,
    Form,
    HTTPException,
    Query,
    Request,
    Response,
    UploadFile,
)
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import defer

from app.db import ReadSessionDep, SessionDep
from app.mail import EmailAddress
from app.pages import StaticFolder, prefers_html
from app.settings import Settings
from app.tasks import Priority, Tasks
from app.urls import root_path

from .models import MAX_FILE_NAME, Report
from .pages import PREFIX, VARY, show, visible
from .schemas import ReportAccepted, ReportDetail
from .tasks import process_report
from .uploads import keep_upload, new_report_id

_PAGE: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}


def make_router(settings: Settings) -> APIRouter:
    """Make the routes. Only the one for uploads takes more than a small body."""
    router = APIRouter(tags=["reports (example)"])
    router.mount(f"/static{PREFIX}", StaticFolder(Path(__file__).with_name("static")))
    router.post(
        PREFIX,
        status_code=202,
        response_model=ReportAccepted,
        responses={
            303: {"description": "The same for a browser: go to the page of the report"},
            413: {"description": "The upload is larger than `MAX_UPLOAD_BYTES`"},
            503: {"description": "Too much work waits, or the disk is full"},
        },
        max_body_size=settings.max_upload_bytes,
        form_limits={"max_files": 1, "max_fields": 8, "max_part_size": 8 * 1024},
    )(upload_report)
    router.get(PREFIX, response_class=HTMLResponse)(show_form)
    one = PREFIX + "/{report_id}"
    router.get(one, response_model=ReportDetail, responses={200: _PAGE})(read_report)
    return router


async def upload_report(
    request: Request,
    report_id: Annotated[UUID, Depends(new_report_id)],
    file: Annotated[
        UploadFile,
        File(description="with a header; cells end at a comma, a semicolon, a tab or a |"),
    ],
    email: Annotated[EmailAddress, Form(description="who gets the result")],
    session: SessionDep,
    tasks: Tasks,
    response: Response,
    priority: Annotated[Literal["urgent", "high", "normal", "low", "idle"], Form()] = "normal",
) -> Any:
    """Take a file in and answer at once. The statistics follow by e-mail, and at `Location`."""
    # First, since a full queue refuses it; it begins when the session has committed.
    task_id = tasks.add_task(process_report, report_id, priority=Priority[priority.upper()])
    await asyncio.to_thread(keep_upload, file.file, report_id)
    name = visible(file.filename)[:MAX_FILE_NAME]
    session.add(Report(id=report_id, email=email, file_name=name, task_id=task_id))
    # Never from the Host header: whoever sends one could choose where it leads.
    location = f"{root_path(request.scope)}{PREFIX}/{report_id}"
    if prefers_html(request):
        return RedirectResponse(location, HTTPStatus.SEE_OTHER, VARY)
    response.headers.update(VARY | {"Location": location})
    return ReportAccepted(id=report_id, status="pending", task_id=task_id)


async def show_form(request: Request, session: ReadSessionDep) -> Response:
    """Show the form to upload a file, and the latest reports."""
    latest = select(Report).order_by(Report.created_at.desc()).limit(20)
    found = await session.scalars(latest.options(defer(Report.statistics, raiseload=True)))
    return show(request, "upload.html.j2", latest=found.all())


async def read_report(
    request: Request,
    report_id: UUID,
    session: ReadSessionDep,
    response: Response,
    as_json: Annotated[bool, Query(description="JSON for a browser, too: a download")] = False,
) -> Any:
    """Return a report: `pending`, `processing`, or in the end `done` or `failed`."""
    report = await session.get(Report, report_id)
    if as_json or not prefers_html(request):
        if report is None:
            raise HTTPException(404, f"there is no report {report_id}")
        response.headers.update(VARY)
        return report
    if report is None:
        return show(request, "upload.html.j2", HTTPStatus.NOT_FOUND, latest=[])
    is_open = report.finished_at is None
    task = await request.app.state.runner.describe(report.task_id) if is_open else None
    return show(request, "report.html.j2", report=report, progress=task and task.progress)
