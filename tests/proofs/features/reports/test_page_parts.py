"""Parts of the report pages: the form, the histogram, limits and errors."""

import re

import httpx2
import pytest

from tests.features.reports.conftest import Upload
from tests.features.reports.test_pages import browser, is_page, show, text_of

__all__ = ["browser", "show"]  # fixtures


async def test_page_shows_only_the_first_50_columns(show: Upload) -> None:
    names = ",".join(f"c{number}" for number in range(60))
    page = await show(f"{names}\n{'1,' * 59}1\n".encode())

    assert page.text.count("<article") == 50
    assert "These are the first 50 columns; the download has all." in text_of(page)


async def test_page_without_a_key_redirects_to_the_sign_in(browser: httpx2.AsyncClient) -> None:
    del browser.headers["X-API-Key"]
    response = await browser.get("/reports?page=2")

    assert response.status_code == 303
    assert response.headers["Location"].startswith("/sign-in?next=/reports")


async def test_form_shows_the_upload_limit(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/reports")

    assert is_page(page)
    assert 'enctype="multipart/form-data"' in page.text
    assert 'data-max-bytes="209715200"' in page.text
    assert "up to 200 MiB" in text_of(page)
    assert "Latest reports" not in page.text
    assert '<a href="/reports" aria-current="page">Reports</a>' in page.text


async def test_histogram_bars_are_in_proportion_and_fill_the_axis(show: Upload) -> None:
    values = [*range(1, 40), *range(1, 3)]  # 4 whole numbers per bin; 1 and 2 come twice
    page = await show(b"n\n" + b"\n".join(b"%d" % value for value in values))
    pattern = r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="([\d.]+)"><title>([^<]*)'
    bars = re.findall(pattern, page.text)
    counts = [int(title.rpartition(": ")[2]) for *_, title in bars]

    assert counts == [6, *[4] * 8, 3]
    assert [float(height) for _, _, height, _ in bars] == pytest.approx(
        [30 * count / 6 for count in counts], abs=1e-3
    )
    assert [float(x) for x, *_ in bars] == pytest.approx(
        [100 * n / 10 for n in range(10)], abs=1e-3
    )
    assert "<span>1</span><span>39</span>" in page.text


async def test_page_of_an_invalid_file_shows_the_error(show: Upload) -> None:
    page = await show(b"a,b\n1\n")

    assert is_page(page)
    assert 'data-status="failed"' in page.text
    assert "row 2: expected number of columns: 2, found 1" in text_of(page)
    assert "report.js" not in page.text
