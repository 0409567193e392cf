"""What a browser gets: the form to upload a file, and the page of a report."""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import HTMLResponse

from app.pages import render_page

from . import charts, display
from .models import Report
from .schemas import ColumnStatistics

PREFIX = "/reports"
VARY = {"Vary": "Accept"}
"""Of every answer: who prefers JSON gets that from the same addresses."""
PageNumber = Annotated[int, Query(ge=1, description="for browsers; a program gets all columns")]

_TEMPLATES = Path(__file__).parent / "templates" / "pages"
_SHARED = {"prefix": PREFIX, "display": display, "charts": charts}
_COLUMNS_PER_PAGE = 12
"""Keeps a page below 100 kB, whatever the number of columns."""


def upload_page(request: Request, latest: Sequence[Report]) -> HTMLResponse:
    """Show the form, and links to the latest reports."""
    max_bytes = request.app.state.settings.max_upload_bytes
    return _render(request, "upload.html.j2", {"latest": latest, "max_bytes": max_bytes})


async def report_page(request: Request, report: Report, page: int) -> HTMLResponse:
    """Show a report: its progress, its error, or a part of its columns with charts."""
    context: dict[str, Any] = {"report": report, "statistics": report.statistics}
    if report.finished_at is None:
        task = await request.app.state.runner.describe(report.task_id)
        context["progress"] = task and task.progress
    if report.statistics:
        columns = report.statistics["columns"]
        last = -(-len(columns) // _COLUMNS_PER_PAGE)
        page = min(page, last)
        first = (page - 1) * _COLUMNS_PER_PAGE
        cards = [_card(column) for column in columns[first : first + _COLUMNS_PER_PAGE]]
        context |= {"cards": cards, "first": first, "page": page, "last": last}
    return _render(request, "report.html.j2", context)


def missing_page(request: Request) -> HTMLResponse:
    """Say that there is no such report: links in mails are older than the retention one day."""
    return _render(request, "missing.html.j2", {}, HTTPStatus.NOT_FOUND)


def _render(
    request: Request, name: str, context: dict[str, Any], status: int = HTTPStatus.OK
) -> HTMLResponse:
    page = render_page(request, _TEMPLATES, name, {**_SHARED, **context}, status)
    page.headers.update(VARY)
    return page


def _card(stored: dict[str, Any]) -> dict[str, Any]:
    column = ColumnStatistics.model_validate(stored)
    return {
        "data": column,
        "chart": charts.draw_histogram(column),
        "write": charts.writer(column.type),
        "cells": column.count + column.nulls,
        "others": column.count - sum(top.count for top in column.top),
    }
