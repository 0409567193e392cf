"""What a browser gets: the form to upload a file, and the page of a report."""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.pages import render_page

from .charts import HEIGHT, WIDTH, draw_histogram, writer
from .display import readable, share, visible
from .models import Report
from .schemas import ColumnStatistics

PREFIX = "/reports"
VARY = {"Vary": "Accept"}
"""Of every answer: who prefers JSON gets that from the same addresses."""

_TEMPLATES = Path(__file__).parent / "templates" / "pages"
_COLUMNS_PER_PAGE = 12
"""Keeps a page below 100 kB, whatever the number of columns."""


def upload_page(request: Request, latest: Sequence[Report]) -> HTMLResponse:
    """Show the form, and links to the latest reports."""
    max_bytes = request.app.state.settings.max_upload_bytes
    context = {
        "latest": latest,
        "max_bytes": int(max_bytes),
        "max_size": max_bytes.human_readable(separator=" ").replace(".0 ", " "),
    }
    return _render(request, "upload.html.j2", context)


def report_page(request: Request, report: Report) -> HTMLResponse:
    """Show a report: its progress, its error, or a part of its columns with charts."""
    context: dict[str, Any] = {"report": report, "statistics": report.statistics}
    context["is_open"] = report.finished_at is None
    if report.statistics:
        columns = report.statistics["columns"]
        part = _part(request, len(columns))
        # Only these are looked at closely: there may be a thousand.
        shown = [_card(column) for column in columns[part["from"] : part["to"]]]
        context |= {"columns": shown, "part": part, "width": WIDTH, "height": HEIGHT}
    return _render(request, "report.html.j2", context)


def missing_page(request: Request) -> HTMLResponse:
    """Say that there is no such report: links in mails are older than the retention one day."""
    return _render(request, "missing.html.j2", {}, HTTPStatus.NOT_FOUND)


def _render(
    request: Request, name: str, context: dict[str, Any], status: int = HTTPStatus.OK
) -> HTMLResponse:
    context = {**_WORDS, "prefix": PREFIX, **context}
    page = render_page(request, _TEMPLATES, name, context, status)
    page.headers.update(VARY)
    return page


def _card(stored: dict[str, Any]) -> dict[str, Any]:
    column = ColumnStatistics.model_validate(stored)
    shown = sum(top.count for top in column.top)
    return {
        "data": column,
        "chart": draw_histogram(column),
        "write": writer(column.type),
        "cells": column.count + column.nulls,
        "others": column.count - shown,
    }


def _part(request: Request, number: int) -> dict[str, int]:
    """Tell which columns are shown: `?page=` says, and the nearest there is if it makes no sense.

    No parameter of the endpoint, since programs get all columns.
    """
    asked = request.query_params.get("page", "")
    last = max(1, -(-number // _COLUMNS_PER_PAGE))
    page = min(int(asked[:6]), last) if asked.isascii() and asked.isdecimal() else 1
    page = max(page, 1)
    first = (page - 1) * _COLUMNS_PER_PAGE
    to = min(first + _COLUMNS_PER_PAGE, number)
    return {"page": page, "last": last, "from": first, "to": to, "number": number}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


_WORDS = {"readable": readable, "share": share, "visible": visible, "sentence": _sentence}
