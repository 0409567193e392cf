"""Renders the upload form and the page of a report, and formats values for pages and mails."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.pages import render_page

_TEMPLATES = Path(__file__).parent / "templates" / "pages"


def visible(value: object) -> str:
    """Format a value on one line, with control characters escaped: it comes from a stranger."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def readable(value: object) -> str:
    """Format a value: fractions with six digits, whole numbers in groups of three digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else visible(value)


def counted(number: int, noun: str) -> str:
    """Format a number with its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


COMMON_CONTEXT = {"counted": counted, "readable": readable, "visible": visible, "shown_columns": 50}
"""Variables of all templates. Pages and mails show the first 50 columns, the JSON has all."""


def show(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """Render a page."""
    max_bytes = request.app.state.settings.max_upload_bytes
    context = {"max_bytes": max_bytes, "status": status, **COMMON_CONTEXT, **context}
    return render_page(request, _TEMPLATES, template, context, status)
