"""`/reports` takes files and lists reports, `/reports/{id}` tells what became of one.

Programs get JSON, and browsers get pages.
"""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import defer

from app.db import ReadSessionDep, SessionDep
from app.errors import Conflict, NotFound
from app.mail import EmailAddress
from app.pages import StaticFolder, prefers_html
from app.settings import Settings
from app.tasks import Priority, Tasks
from app.urls import root_path

from .display import file_name
from .models import Report
from .pages import PREFIX, VARY, report_page, upload_page
from .schemas import ReportAccepted, ReportDetail, ReportSummary
from .tasks import process_report
from .uploads import keep_upload, new_report_id

AsJson = Annotated[bool, Query(description="JSON for a browser, too: a download")]

_LISTED = 20
_PAGE: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}


def make_router(settings: Settings) -> APIRouter:
    """Make the routes. Only the one for uploads takes more than a small body."""
    router = APIRouter(tags=["reports (example)"], dependencies=[Depends(_vary)])
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
    router.get(PREFIX, response_model=list[ReportSummary], responses={200: _PAGE})(list_reports)
    one = PREFIX + "/{report_id}"
    router.get(one, response_model=ReportDetail, responses={200: _PAGE})(read_report)
    router.delete(one, status_code=204)(delete_report)
    router.post(one + "/delete", status_code=303, include_in_schema=False)(delete_report)
    return router


def _vary(response: Response) -> None:
    response.headers.update(VARY)


def _existing(report: Report | None, report_id: UUID) -> Report:
    if report is None:
        msg = f"there is no report {report_id}"
        raise NotFound(msg)
    return report


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
    name = file_name(file.filename)
    session.add(Report(id=report_id, email=email, file_name=name, task_id=task_id))
    # Never from the Host header: whoever sends one could choose where it leads.
    location = f"{root_path(request.scope)}{PREFIX}/{report_id}"
    if prefers_html(request):
        return RedirectResponse(location, HTTPStatus.SEE_OTHER, VARY)
    response.headers["Location"] = location
    return ReportAccepted(id=report_id, status="pending", task_id=task_id)


async def list_reports(request: Request, session: ReadSessionDep) -> Any:
    """Return the latest reports, the newest first. A browser gets a form to upload a file."""
    query = select(Report).order_by(Report.created_at.desc()).limit(_LISTED)
    latest = (await session.scalars(query.options(defer(Report.statistics, raiseload=True)))).all()
    return upload_page(request, latest) if prefers_html(request) else latest


async def read_report(
    request: Request, report_id: UUID, session: ReadSessionDep, as_json: AsJson = False
) -> Any:
    """Return a report: `pending`, `processing`, or in the end `done` or `failed`."""
    shows_page = prefers_html(request) and not as_json
    report = await session.get(Report, report_id)
    if report is None and shows_page:
        return upload_page(request, [], status=HTTPStatus.NOT_FOUND)
    report = _existing(report, report_id)
    return await report_page(request, report) if shows_page else report


async def delete_report(request: Request, report_id: UUID, session: SessionDep) -> Response:
    """Delete a report that has ended. A browser is sent to the list of all."""
    report = _existing(await session.get(Report, report_id), report_id)
    if report.finished_at is None:
        msg = f"report {report.id} is {report.status}; cancel its task first"
        raise Conflict(msg)
    await session.delete(report)
    if request.method == "DELETE":
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return RedirectResponse(f"{root_path(request.scope)}{PREFIX}", HTTPStatus.SEE_OTHER)
