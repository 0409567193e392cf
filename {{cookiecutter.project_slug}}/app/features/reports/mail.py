"""The mail that tells how a report ended."""

from pathlib import Path
from typing import Any

from app.email import EmailMessage, render_email

from .models import Report, ReportStatus

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_COLUMNS = 50


def report_mail(report: Report) -> EmailMessage:
    """Make the mail for a report that is done or failed."""
    if report.status is ReportStatus.FAILED:
        context: dict[str, Any] = {"report": report, "error": _visible(report.error)}
        return render_email(_TEMPLATES, "report_failed", to=report.email, context=context)
    statistics = report.statistics or {}
    columns = [
        {name: _visible(value) for name, value in column.items() if name != "top"}
        for column in statistics["columns"][:_MAX_COLUMNS]
    ]
    left_out = len(statistics["columns"]) - len(columns)
    context = {
        "report": report,
        "rows": statistics["rows"],
        "columns": columns,
        "left_out": left_out,
    }
    return render_email(_TEMPLATES, "report_done", to=report.email, context=context)


def _visible(value: object) -> str:
    """Write a value on one line, with control characters as escapes: it comes from a stranger."""
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
