"""Pages: the form, the progress, the report with charts, and markup in a file as text."""

import asyncio
import re
from html import unescape

import httpx2
import pytest
from fastapi import FastAPI

from app.tasks import TaskRunner

from .conftest import SAMPLE, Analysis, Upload

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HOSTILE = '<script>alert("1")</script>'
NOT_ALLOWED = re.compile(r"\sstyle=|<style|<script(?! src=\"/static/)|\son\w+=|javascript:|https?:")
"""What the content security policy refuses, and URLs of other hosts."""


def is_page(response: httpx2.Response, status: int = 200) -> bool:
    return (
        response.status_code == status
        and response.headers["Content-Type"] == "text/html; charset=utf-8"
        and "Accept" in response.headers["Vary"]
        and not NOT_ALLOWED.search(response.text)
    )


def text_of(response: httpx2.Response) -> str:
    """Return the visible text of a page on one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", response.text)).split())


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


@pytest.fixture
async def browser(client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    client.headers.update(BROWSER)
    return client


@pytest.fixture
def show(browser: httpx2.AsyncClient, runner: TaskRunner) -> Upload:
    """Return a function that uploads a file with the form and returns the report page."""

    async def show(content: bytes, *, name: str = "x.csv") -> httpx2.Response:
        files = {"file": (name, content)}
        accepted = await browser.post("/reports", files=files, data={"email": "ann@example.com"})
        await runner.join(20)
        return await browser.get(accepted.headers["Location"])

    return show


async def test_a_browser_gets_a_page_and_other_clients_get_json(
    client: httpx2.AsyncClient, upload: Upload
) -> None:
    accepted = await upload(SAMPLE)
    path = accepted.headers["Location"]

    assert accepted.headers["Vary"] == "Accept"
    assert is_page(await client.get(path, headers=BROWSER))
    download = path + "?as_json=true"
    for address, accept in ((path, "*/*"), (path, "application/json"), (download, "text/html")):
        response = await client.get(address, headers={"Accept": accept})

        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Vary"] == "Accept"


async def test_the_form_redirects_to_the_report_page_which_shows_progress(
    analyse: Analysis, browser: httpx2.AsyncClient, upload: Upload, runner: TaskRunner
) -> None:
    analyse.gate.clear()
    accepted = await upload(SAMPLE)
    async with asyncio.timeout(5):
        await analyse.called.wait()
    page = await browser.get(accepted.headers["Location"])
    analyse.gate.set()
    await runner.join(5)
    done = await browser.get(accepted.headers["Location"])

    assert (accepted.status_code, accepted.content) == (303, b"")
    assert is_page(page)
    assert 'data-status="processing" aria-busy="true"' in page.text
    assert '<progress value="1" max="4"' in page.text
    assert "1 of 4 columns described." in page.text
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page.text
    assert "/static/reports/report.js" in page.text
    assert is_page(done)
    assert 'data-status="done"' in done.text
    assert "aria-busy" not in done.text
    assert "noscript" not in done.text


async def test_the_report_page_shows_statistics_and_charts(show: Upload) -> None:
    page = await show(SAMPLE, name="weather.csv")
    text = text_of(page)

    assert is_page(page)
    assert '<h1 class="break">weather.csv</h1>' in page.text
    assert "50 rows 6 columns" in text
    assert "temperature number 48 values 2 empty (4 %)" in text
    assert "≈ Median 10.95 Mean" in text
    assert "station text 50 values none empty Most frequent Values" in text
    assert page.text.count("<article") == 6
    assert page.text.count('class="histogram"') == 3


async def test_markup_in_an_uploaded_file_is_escaped(show: Upload) -> None:
    name = HOSTILE.replace("/", "")  # a file has no slash in its name
    cell = HOSTILE.replace('"', '""')
    page = await show(f'"{cell}","a\u202eb"\n"{cell}",1\n'.encode(), name=name)

    assert is_page(page)
    assert "<script>" not in page.text
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;</h2>" in page.text
    assert "a\\u202eb" in page.text
    assert page.text.count("alert") == 4  # title, heading, column, cell
