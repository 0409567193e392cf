"""What a browser gets: the form and the page of a report; and how values are written for people."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.pages import render_page

_TEMPLATES = Path(__file__).parent / "templates" / "pages"


def visible(value: object) -> str:
    """Write a value on one line, with control characters as escapes: it comes from a stranger."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


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


def show(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """Fill in the template of a page."""
    max_bytes = request.app.state.settings.max_upload_bytes
    context = {"max_bytes": max_bytes, "status": status, **WORDS, **context}
    return render_page(request, _TEMPLATES, template, context, status)
