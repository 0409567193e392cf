"""The mails: what they say, and that the content of a file cannot change their layout."""

from typing import Any
from uuid import uuid4

import pytest

from app.db import utc_now
from app.features.reports.models import Report
from app.features.reports.settings import report_settings
from app.features.reports.tasks import report_mail
from app.mail import EmailMessage
from cost import costs_little

ID = uuid4()

COLUMN: dict[str, Any] = {
    "name": "price",
    "type": "number",
    "count": 3,
    "nulls": 1,
    "min": -1.5,
    "max": 1234567.891,
    "mean": 0.1 + 0.2,
    "std": None,
    "p25": 0.0,
    "p50": 1.0,
    "p75": 2.0,
    "distinct": 3,
    "top": [],
    "histogram": None,
}


def make_mail(**values: Any) -> EmailMessage:
    report = Report(
        id=ID, email="ann@example.com", file_name="<prices>.csv", created_at=utc_now(), **values
    )
    return report_mail(report)


def mail_done(*columns: dict[str, Any]) -> EmailMessage:
    statistics = {"rows": 4, "columns": list(columns)}
    return make_mail(status="done", statistics=statistics)


def test_mail_of_a_done_report_has_link_and_statistics() -> None:
    mail = mail_done(COLUMN)

    assert mail.to == "ann@example.com"
    assert mail.subject == "Your report is done: 4 rows"
    assert "You uploaded the file <prices>.csv on" in mail.text
    assert f"    http://localhost:8000/reports/{ID}\n" in mail.text
    assert "3 values, 1 empty, 3 distinct\n    from" in mail.text
    assert "from -1.5 to 1.23457e+06" in mail.text
    assert "mean 0.3, median about 1\n" in mail.text
    assert mail.html is not None
    assert "<b>&lt;prices&gt;.csv</b>" in mail.html
    assert f'<a href="http://localhost:8000/reports/{ID}">' in mail.html
    assert "It has 4 rows and 1 column." in mail.html


@pytest.mark.parametrize("url", ["https://reports.example.com", "https://reports.example.com/"])
def test_link_begins_with_the_public_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTS_PUBLIC_URL", url)
    report_settings.cache_clear()

    assert f"    https://reports.example.com/reports/{ID}\n" in mail_done(COLUMN).text
    assert f"    https://reports.example.com/reports/{ID}\n" in mail_failed("no").text


@pytest.mark.parametrize("pattern", ["a", "@.", "é", "\0", "\r\n", "<", "🚀"])
def test_100_kb_of_text_cost_little(pattern: str) -> None:
    text = (pattern * 100_000)[:100_000]
    mail_failed("no")
    with costs_little():
        mail_failed(text)
        mail_done({**COLUMN, "name": text, "min": text, "max": text})


def mail_failed(error: str) -> EmailMessage:
    return make_mail(status="failed", error=error)


def test_mail_of_a_failed_report_has_the_error() -> None:
    mail = mail_failed("row 2: <b> has\na problem")

    assert mail.subject == "Your report could not be made"
    assert "    row 2: <b> has\\na problem\n" in mail.text
    assert mail.html is not None
    assert "<strong>row 2: &lt;b&gt; has\\na problem</strong>" in mail.html


def test_control_characters_in_a_column_name_are_escaped() -> None:
    name = "<script>\nBcc: eve@example.com\x1b[2J\u202e\u2028"
    mail = mail_done({**COLUMN, "name": name})

    shown = "<script>\\nBcc: eve@example.com\\x1b[2J\\u202e\\u2028 (number)"
    assert shown in mail.text.splitlines()


def test_mail_lists_only_the_first_50_columns() -> None:
    mail = mail_done(*([COLUMN] * 60))

    assert mail.text.count("price (number)") == 50
    assert "... and 10 more columns." in mail.text
