"""`/reports` takes files and lists reports, `/reports/{id}` tells what became of one.

Programs get JSON, and browsers get pages.
"""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import RedirectResponse
from pydantic import BeforeValidator
from sqlalchemy import select
from sqlalchemy.orm import defer

from app.db import ReadSessionDep, SessionDep
from app.email import EmailAddress
from app.errors import NotFound, ServiceUnavailable, Unprocessable
from app.pages import StaticFolder, prefers_html
from app.settings import Settings
from app.tasks import Priority, Tasks
from app.urls import root_path

from .display import file_name
from .models import Report
from .pages import PREFIX, VARY, PageNumber, missing_page, report_page, upload_page
from .schemas import ReportAccepted, ReportDetail, ReportSummary
from .tasks import clean_up, process_report
from .uploads import keep_upload, new_report_id

_LISTED = 20
_OTHER_FIELDS = 64 * 1024
"""Bytes that the body of an upload may have beside the file."""
_PAGE: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}


def _vary(response: Response) -> None:
    response.headers.update(VARY)


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
            413: {"description": "The file is larger than `MAX_UPLOAD_BYTES`"},
            503: {"description": "Too much work waits, or the disk is almost full"},
        },
        max_body_size=settings.max_upload_bytes + _OTHER_FIELDS,
        form_limits={"max_files": 1, "max_fields": 8, "max_part_size": 8 * 1024},
    )(upload_report)
    router.get(PREFIX, response_model=list[ReportSummary], responses={200: _PAGE})(list_reports)
    one = PREFIX + "/{report_id}"
    router.get(one, response_model=ReportDetail, responses={200: _PAGE})(read_report)
    return router


def _read_priority(value: object) -> object:
    return Priority.__members__.get(str(value).strip().upper(), value)


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
    priority: Annotated[
        int,
        Form(ge=0, le=9, description="urgent, high, normal, low, idle, or a number from 0 to 9"),
        BeforeValidator(_read_priority),
    ] = Priority.NORMAL,
) -> Any:
    """Take a file in and answer at once. The statistics follow by e-mail, and at `Location`."""
    _check_size(file.size or 0, request.app.state.settings)
    try:
        await asyncio.to_thread(keep_upload, file.file, report_id)
    except ServiceUnavailable:  # perhaps the next one has room
        request.app.state.runner.submit(clean_up)
        raise
    task_id = tasks.add_task(process_report, report_id, priority=priority)
    name = file_name(file.filename)
    session.add(Report(id=report_id, email=email, file_name=name, task_id=task_id))
    # Never from the Host header: whoever sends one could choose where it leads.
    location = f"{root_path(request.scope)}{PREFIX}/{report_id}"
    if prefers_html(request):
        return RedirectResponse(location, HTTPStatus.SEE_OTHER, VARY)
    response.headers["Location"] = location
    return ReportAccepted(id=report_id, status="pending", task_id=task_id)


def _check_size(size: int, settings: Settings) -> None:
    if not size:
        msg = "the file is empty"
        raise Unprocessable(msg)
    if size > settings.max_upload_bytes:
        detail = f"the file is larger than {settings.max_upload_bytes} bytes"
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


async def list_reports(request: Request, session: ReadSessionDep) -> Any:
    """Return the latest reports, the newest first. A browser gets a form to upload a file."""
    query = select(Report).order_by(Report.created_at.desc()).limit(_LISTED)
    latest = (await session.scalars(query.options(defer(Report.statistics, raiseload=True)))).all()
    return upload_page(request, latest) if prefers_html(request) else latest


async def read_report(
    request: Request, report_id: UUID, session: ReadSessionDep, page: PageNumber = 1
) -> Any:
    """Return a report: `pending`, `processing`, or in the end `done` or `failed`."""
    report = await session.get(Report, report_id)
    if prefers_html(request):
        return await report_page(request, report, page) if report else missing_page(request)
    if report is None:
        msg = f"there is no report {report_id}"
        raise NotFound(msg)
    return report
