"""The mail that tells how a report ended."""

from pathlib import Path

from app.email import EmailMessage, render_email

from .display import visible
from .models import Report
from .settings import ReportSettings

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_COLUMNS = 50


def report_mail(report: Report) -> EmailMessage:
    """Make the mail for a report that is done or failed."""
    # Never from the Host header of a request: whoever sends one could choose where the link leads.
    link = f"{ReportSettings().public_url}".rstrip("/") + f"/reports/{report.id}"
    context = {"report": report, "link": link, "max_columns": _MAX_COLUMNS, "visible": visible}
    return render_email(_TEMPLATES, f"report_{report.status}", to=report.email, context=context)
