"""What a browser gets: the form and the page of a report; and how values are written for people."""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.pages import render_page

from .models import Report

PREFIX = "/reports"
VARY = {"Vary": "Accept"}
"""Of every answer: who prefers JSON gets that from the same addresses."""

_TEMPLATES = Path(__file__).parent / "templates" / "pages"


def visible(value: object) -> str:
    """Write a value on one line, with control characters as escapes: it comes from a stranger."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)
    )


def readable(value: object) -> str:
    """Write a value: fractions with six digits, whole numbers in groups of three."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else visible(value)


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


WORDS = {"counted": counted, "readable": readable, "visible": visible, "shown_columns": 50}
"""What the templates of pages and mails use; they show the first columns, a program gets all."""


def upload_page(
    request: Request, latest: Sequence[Report], status: int = HTTPStatus.OK
) -> HTMLResponse:
    """Show the form, and links to the latest reports; with 404 that a report is not there."""
    max_bytes = request.app.state.settings.max_upload_bytes
    context = {"latest": latest, "max_bytes": max_bytes, "status": status}
    return _render(request, "upload.html.j2", context, status)


async def report_page(request: Request, report: Report) -> HTMLResponse:
    """Show a report: its progress, its error, or its first columns with charts."""
    task = None
    if report.finished_at is None:
        task = await request.app.state.runner.describe(report.task_id)
    context = {"report": report, "progress": task and task.progress}
    return _render(request, "report.html.j2", context)


def _render(
    request: Request, name: str, context: dict[str, Any], status: int = HTTPStatus.OK
) -> HTMLResponse:
    # A report is a page below the one that has a link at the top: that link is marked.
    shared = {"path": PREFIX, "prefix": PREFIX, **WORDS}
    page = render_page(request, _TEMPLATES, name, {**shared, **context}, status)
    page.headers.update(VARY)
    return page
