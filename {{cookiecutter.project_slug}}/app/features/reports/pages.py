"""What a browser gets: the form to upload a file, the page of a report, and errors as pages."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.pages import render_page
from app.settings import Settings

from .charts import HEIGHT, WIDTH, draw_histogram, writer
from .display import moment, readable, share, visible
from .models import ReportStatus
from .schemas import ColumnStatistics, ReportSummary

PREFIX = "/reports"

_TEMPLATES = Path(__file__).parent / "templates" / "pages"
_COLUMNS_PER_PAGE = 12
"""Keeps a page below 100 kB, whatever the number of columns."""
_WORDS = {"moment": moment, "readable": readable, "share": share, "visible": visible}
_FIELDS = ("email", "file")
_TOO_LARGE = 413

Problem = dict[str, Any]
"""A problem document (RFC 9457)."""


def upload_page(
    request: Request,
    latest: Sequence[ReportSummary],
    *,
    problem: Problem | None = None,
    email: str = "",
) -> HTMLResponse:
    """Show the form; after a problem with what was entered, and why it was not accepted."""
    settings: Settings = request.app.state.settings
    max_size = settings.max_upload_bytes.human_readable(separator=" ").replace(".0 ", " ")
    if problem and problem["status"] == _TOO_LARGE:
        problem = {**problem, "detail": f"the file is larger than {max_size}"}
    context = {
        **_WORDS,
        "prefix": PREFIX,
        "latest": latest,
        "email": email,
        "is_refused": problem is not None,
        "messages": _messages(problem or {}),
        "max_bytes": int(settings.max_upload_bytes),
        "max_size": max_size,
    }
    status = problem["status"] if problem else 200
    return render_page(request, _TEMPLATES, "upload.html.j2", context, status)


def report_page(
    request: Request, report: ReportSummary, email: str, statistics: dict[str, Any] | None
) -> HTMLResponse:
    """Show a report: its progress, its error, or a part of its columns with charts."""
    context: dict[str, Any] = {
        **_WORDS,
        "prefix": PREFIX,
        "report": report,
        "email": email,
        "error": _sentence(visible(report.error)) if report.error else "",
        "is_open": report.status in {ReportStatus.PENDING, ReportStatus.PROCESSING},
        "statistics": statistics,
    }
    if statistics:
        columns = statistics["columns"]
        part = _part(request, len(columns))
        context |= {
            # Only these are looked at closely: there may be a thousand.
            "columns": [_card(column) for column in columns[part["from"] : part["to"]]],
            "part": part,
            "width": WIDTH,
            "height": HEIGHT,
        }
    return render_page(request, _TEMPLATES, "report.html.j2", context)


def problem_page(request: Request, problem: Problem) -> HTMLResponse:
    """Show an error."""
    detail = _sentence(problem["detail"])
    context = {"title": problem["title"], "detail": detail, "prefix": PREFIX}
    return render_page(request, _TEMPLATES, "problem.html.j2", context, problem["status"])


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


def _messages(problem: Problem) -> dict[str, str]:
    """Say by field what is wrong; "" stands for the form as a whole."""
    messages = dict.fromkeys(["", *_FIELDS], "")
    for error in problem.get("errors", ()):
        name, text = error["loc"][-1], error["msg"].removeprefix("Value error, ")
        if name in _FIELDS:
            messages[name] = _sentence(text)
        else:
            messages[""] = _sentence(f"{name}: {text}")
    if messages["file"]:  # whatever pydantic says of it
        messages["file"] = "Choose a CSV file."
    if not any(messages.values()):
        messages[""] = _sentence(problem.get("detail", ""))
    return messages


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
