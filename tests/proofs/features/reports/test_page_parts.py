"""What a browser gets: the form, the progress, the report with charts, and errors as pages."""

import re
from html import unescape

import httpx2
import pytest

from app.tasks import TaskRunner
from tests.features.reports.conftest import Upload

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


"""What the content security policy refuses, and what would come from elsewhere."""


def text_of(response: httpx2.Response) -> str:
    """Return what can be read on a page, on one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", response.text)).split())


@pytest.fixture
async def browser(client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    client.headers.update(BROWSER)
    return client


@pytest.fixture
def show(browser: httpx2.AsyncClient, runner: TaskRunner) -> Upload:
    """Upload a file with the form and return the page that it ends on."""

    async def show(content: bytes, *, name: str = "x.csv", page: str = "") -> httpx2.Response:
        files = {"file": (name, content)}
        accepted = await browser.post("/reports", files=files, data={"email": "ann@example.com"})
        await runner.join(20)
        return await browser.get(accepted.headers["Location"] + page)

    return show


async def test_outliers_are_marked(show: Upload) -> None:
    numbers = [*range(20), 5000, -7000, -8000]
    page = await show(b"n\n" + b"\n".join(b"%d" % number for number in numbers))

    assert "3 outliers 2 below -13, 1 above 31" in text_of(page)
    assert page.text.count('<rect class="far"') == 2
    assert "above 31 (outliers) 1" in text_of(page)


async def test_many_columns_are_shown_in_parts(browser: httpx2.AsyncClient, show: Upload) -> None:
    names = ",".join(f"c{number}" for number in range(30))
    address = (await show(f"{names}\n{'1,' * 29}1\n".encode())).url
    for queries, shown, has_previous, has_next in [
        (["", "?page=1", "?page=0", "?page=-1", "?page=%D9%A3"], "1 to 12", False, True),
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
