"""The report pages: columns, size, the list of reports, and errors."""

import re
from uuid import uuid4

import httpx2
import pytest

from app.mail import EmailMessage
from app.tasks import TaskRunner
from tests.features.reports.conftest import Analysis, Upload
from tests.features.reports.test_pages import BROWSER, browser, is_page, show, text_of

__all__ = ["browser", "show"]  # fixtures


async def test_page_describes_columns_of_every_type(show: Upload) -> None:
    page = await show(b"empty,one,day,yes\n,7,2026-01-31,true\n,7,2026-02-01,true\n")
    text = text_of(page)

    assert is_page(page)
    assert "empty text 0 values 2 empty (100 %) This column has no values." in text
    assert "one integer 2 values none empty Most frequent Values 7 2 100 %" in text
    assert "Min 2026-01-31 Max 2026-02-01" in text
    assert "true 2 100 %" in text


async def test_page_with_24_histograms_is_small(show: Upload) -> None:
    """Every column has all the parts that a column can have."""
    rows = [[(-1) ** row * (row + 0.123456789) * 1e6 for _ in range(24)] for row in range(3000)]
    rows[0] = [1e15] * 24
    rows[1] = [-1e15] * 24
    lines = [",".join(f"a column with quite a long name {n}" for n in range(24))]
    lines += [",".join(map(repr, row)) for row in rows]
    page = await show("\n".join(lines).encode())

    assert page.text.count('class="histogram"') == 24
    assert len(page.content) < 150_000


async def test_latest_20_reports_are_listed(
    analyse: Analysis, client: httpx2.AsyncClient, upload: Upload, runner: TaskRunner
) -> None:
    ids = [(await upload(name=f"{number}.csv")).json()["id"] for number in range(22)]
    await runner.join(5)
    page = await client.get("/reports", headers=BROWSER)

    assert analyse.calls == 22
    assert re.findall(r'href="/reports/([^"]*)"', page.text) == ids[:1:-1]
    assert f'<a class="break" href="/reports/{ids[-1]}">21.csv</a>' in page.text
    assert is_page(page)


async def test_unknown_report_is_a_404_page(browser: httpx2.AsyncClient) -> None:
    unknown = uuid4()
    page = await browser.get(f"/reports/{unknown}")

    assert is_page(page, 404)
    assert "There is no such report" in text_of(page)


@pytest.mark.parametrize("name", ["reports.css", "report.js"])
async def test_static_files_need_no_key(browser: httpx2.AsyncClient, name: str) -> None:
    del browser.headers["X-API-Key"]

    assert (await browser.get(f"/static/reports/{name}")).status_code == 200


async def test_one_row_is_written_in_the_singular(show: Upload, outbox: list[EmailMessage]) -> None:
    page = await show(b"a\n1\n")

    assert "1 row 1 column uploaded" in text_of(page)
    assert "a integer 1 value none empty" in text_of(page)
    assert outbox[0].subject == "Your report is done: 1 row"
    assert "It has 1 row. The" in outbox[0].text
    assert "1 value, 0 empty" in outbox[0].text
    assert "It has 1 row and 1 column." in (outbox[0].html or "")
