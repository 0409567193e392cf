"""What a browser gets: the form, the progress, the report with charts, and errors as pages."""

import httpx2

from tests.features.reports.conftest import Upload
from tests.features.reports.test_pages import browser, is_page, show, text_of

__all__ = ["browser", "show"]  # fixtures


async def test_outliers_are_marked(show: Upload) -> None:
    numbers = [*range(20), 5000, -7000, -8000]
    page = await show(b"n\n" + b"\n".join(b"%d" % number for number in numbers))

    assert "3 outliers 2 below 0, 1 above 19" in text_of(page)
    assert page.text.count('<rect class="far"') == 2
    assert "above 19 (outliers) 1" in text_of(page)


async def test_many_columns_are_shown_in_parts(browser: httpx2.AsyncClient, show: Upload) -> None:
    names = ",".join(f"c{number}" for number in range(30))
    address = (await show(f"{names}\n{'1,' * 29}1\n".encode())).url
    for queries, shown, has_previous, has_next in [
        (["", "?page=1"], "1 to 12", False, True),
        (["?page=2"], "13 to 24", True, True),
        (["?page=3", "?page=99999999999999999999"], "25 to 30", True, False),
    ]:
        for query in queries:
            page = await browser.get(f"{address}{query}")

            assert f"Columns {shown} of 30" in text_of(page)
            assert ('rel="prev"' in page.text, 'rel="next"' in page.text) == (
                has_previous,
                has_next,
            )


async def test_the_way_to_the_sign_in(browser: httpx2.AsyncClient) -> None:
    del browser.headers["X-API-Key"]
    response = await browser.get("/reports?page=2")

    assert response.status_code == 303
    assert response.headers["Location"].startswith("/sign-in?next=/reports")


async def test_the_form(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/reports")

    assert is_page(page)
    assert 'enctype="multipart/form-data"' in page.text
    assert 'data-max-bytes="209715200"' in page.text
    assert "up to 200 MiB" in text_of(page)
    assert "Latest reports" not in page.text
    assert '<a href="/reports" aria-current="page">Reports</a>' in page.text


async def test_a_bad_file(show: Upload) -> None:
    page = await show(b"a,b\n1\n")

    assert is_page(page)
    assert 'data-status="failed"' in page.text
    assert "Row 2: expected number of columns: 2, found 1." in text_of(page)
    assert "report.js" not in page.text
