"""The mail that tells how a report ended."""

from pathlib import Path
from typing import Any

from app.email import EmailMessage, render_email

from .display import visible
from .models import Report
from .settings import ReportSettings

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_COLUMNS = 50
_MAX_TEXT = 1000
"""Characters of a value or an error that are mailed: the file of a stranger may have any number."""
_NOT_MAILED = {"top", "histogram", "outliers"}


def report_mail(report: Report) -> EmailMessage:
    """Make the mail for a report that is done or failed."""
    # Never from the Host header of a request: whoever sends one could choose where the link leads.
    link = f"{ReportSettings().public_url}".rstrip("/") + f"/reports/{report.id}"
    context: dict[str, Any] = {"report": report, "link": link}
    if report.status == "failed":
        context["error"] = _shown(report.error)
        return render_email(_TEMPLATES, "report_failed", to=report.email, context=context)
    statistics = report.statistics or {}
    columns = [_lines(column) for column in statistics["columns"][:_MAX_COLUMNS]]
    left_out = len(statistics["columns"]) - len(columns)
    context |= {"rows": statistics["rows"], "columns": columns, "left_out": left_out}
    return render_email(_TEMPLATES, "report_done", to=report.email, context=context)


def _lines(column: dict[str, Any]) -> dict[str, str]:
    outliers = column.get("outliers") or {"below": 0, "above": 0}
    shown = {name: _shown(value) for name, value in column.items() if name not in _NOT_MAILED}
    return {**shown, "outliers": str(outliers["below"] + outliers["above"])}


def _shown(value: object) -> str:
    return visible(value[:_MAX_TEXT] if isinstance(value, str) else value)
