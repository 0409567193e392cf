"""What a browser gets: the form, the progress, the report with charts, and errors as pages."""

import asyncio
import re
from collections.abc import Iterator
from html import unescape
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.features.reports.leftovers import ABANDONED
from app.features.reports.models import Report
from app.tasks import TaskRunner

from .conftest import Analysis, Upload
from .test_api import SAMPLE

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
ADDRESS = "ann@example.com"
HOSTILE = '<script>alert("1")</script>'

NOT_ALLOWED = re.compile(r"\sstyle=|<style|<script(?! src=\"/static/)|\son\w+=|javascript:|https?:")
"""What the content security policy refuses, and what would come from elsewhere."""


def is_page(response: httpx2.Response, status: int = 200) -> bool:
    return (
        response.status_code == status
        and response.headers["Content-Type"] == "text/html; charset=utf-8"
        and "Accept" in response.headers["Vary"]
        and not NOT_ALLOWED.search(response.text)
    )


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


async def test_a_browser_gets_a_page_and_a_program_json(
    client: httpx2.AsyncClient, upload: Upload
) -> None:
    accepted = await upload(SAMPLE)
    path = accepted.headers["Location"]

    assert accepted.headers["Vary"] == "Accept"
    assert is_page(await client.get(path, headers=BROWSER))
    for accept in ("*/*", "application/json"):
        response = await client.get(path, headers={"Accept": accept})

        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Vary"] == "Accept"


async def test_the_form_ends_on_the_page_of_the_report(
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
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page.text
    assert "/static/reports/report.js" in page.text
    assert is_page(done)
    assert 'data-status="done"' in done.text
    assert "aria-busy" not in done.text
    assert "noscript" not in done.text


async def test_a_report(show: Upload) -> None:
    page = await show(SAMPLE, name="weather.csv")
    text = text_of(page)

    assert is_page(page)
    assert '<h1 class="break">weather.csv</h1>' in page.text
    assert "50 rows 6 columns" in text
    assert "temperature number 48 values 2 empty (4 %) Histogram of temperature" in text
    assert "Median 10.95 Quartiles" in text
    assert "station text 50 values none empty Most frequent Values" in text
    assert page.text.count("<article") == 6
    assert page.text.count('class="histogram"') == 3


async def test_outliers_are_marked(show: Upload) -> None:
    numbers = [*range(20), 5000, -7000, -8000]
    page = await show(b"n\n" + b"\n".join(b"%d" % number for number in numbers))

    assert "3 outliers 2 below -13, 1 above 31" in text_of(page)
    assert page.text.count('<rect class="far"') == 2
    assert "above 31 (outliers) 1" in text_of(page)


async def test_all_kinds_of_columns(show: Upload) -> None:
    page = await show(b"empty,one,day,yes\n,7,2026-01-31,true\n,7,2026-02-01,true\n")
    text = text_of(page)

    assert is_page(page)
    assert "empty text 0 values 2 empty (100 %) This column has no values." in text
    assert "one integer 2 values none empty Histogram of one" in text
    assert "Min 2026-01-31 Max 2026-02-01" in text
    assert "true 2 100 %" in text


async def test_what_a_stranger_wrote_is_shown_as_text(show: Upload) -> None:
    name = HOSTILE.replace("/", "")  # a file has no slash in its name
    cell = HOSTILE.replace('"', '""')
    page = await show(f'"{cell}","a\u202eb"\n"{cell}",1\n'.encode(), name=name)

    assert is_page(page)
    assert "<script>" not in page.text
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;</h2>" in page.text
    assert "a\\u202eb" in page.text
    assert page.text.count("alert") == 4  # title, heading, column, cell


async def test_a_bad_file(show: Upload) -> None:
    page = await show(b"a,b\n1\n")

    assert is_page(page)
    assert 'data-status="failed"' in page.text
    assert "Row 2: it has fewer cells than the header, which has 2." in text_of(page)
    assert "report.js" not in page.text


async def test_a_cancelled_report(
    analyse: Analysis, browser: httpx2.AsyncClient, upload: Upload, runner: TaskRunner
) -> None:
    analyse.gate.clear()
    accepted = await upload()
    (task,) = runner.snapshot().tasks
    await browser.post(f"/tasks/{task.id}/cancel")
    page = await browser.get(accepted.headers["Location"])
    listed = await browser.get("/reports")
    analyse.gate.set()

    assert ABANDONED[1:] in text_of(page)
    assert "x.csv failed" in text_of(listed)


@pytest.mark.parametrize(
    ("query", "shown", "has_previous", "has_next"),
    [
        ("", "Columns 1 to 12 of 30", False, True),
        ("?page=1", "Columns 1 to 12 of 30", False, True),
        ("?page=2", "Columns 13 to 24 of 30", True, True),
        ("?page=3", "Columns 25 to 30 of 30", True, False),
        ("?page=99999999999999999999", "Columns 25 to 30 of 30", True, False),
        ("?page=0", "Columns 1 to 12 of 30", False, True),
        ("?page=-1", "Columns 1 to 12 of 30", False, True),
        ("?page=%D9%A3", "Columns 1 to 12 of 30", False, True),
    ],
)
async def test_many_columns_are_shown_in_parts(
    show: Upload, *, query: str, shown: str, has_previous: bool, has_next: bool
) -> None:
    names = ",".join(f"c{number}" for number in range(30))
    page = await show(f"{names}\n{'1,' * 29}1\n".encode(), page=query)

    assert shown in text_of(page)
    assert ('rel="prev"' in page.text, 'rel="next"' in page.text) == (has_previous, has_next)


async def test_a_page_is_small(show: Upload) -> None:
    """Twelve columns with all that a column can have."""
    rows = [[(-1) ** row * (row + 0.123456789) * 1e6 for _ in range(24)] for row in range(3000)]
    rows[0] = [1e15] * 24
    rows[1] = [-1e15] * 24
    lines = [",".join(f"a column with quite a long name {n}" for n in range(24))]
    lines += [",".join(map(repr, row)) for row in rows]
    page = await show("\n".join(lines).encode())

    assert page.text.count('class="far"') == 24
    assert len(page.content) < 100_000


async def test_the_form(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/reports")

    assert is_page(page)
    assert 'enctype="multipart/form-data"' in page.text
    assert 'data-max-bytes="209715200"' in page.text
    assert "up to 200 MiB" in text_of(page)
    assert "Latest reports" not in page.text
    assert '<a href="/reports" aria-current="page">Reports</a>' in page.text


async def test_the_latest_reports(
    analyse: Analysis, client: httpx2.AsyncClient, upload: Upload, runner: TaskRunner
) -> None:
    ids = [(await upload(name=f"{number}.csv")).json()["id"] for number in range(22)]
    await runner.join(5)
    response = await client.get("/reports")
    page = await client.get("/reports", headers=BROWSER)

    assert analyse.calls == 22
    assert response.headers["Vary"] == "Accept"
    assert [report["id"] for report in response.json()] == ids[:1:-1]
    assert set(response.json()[0]) == {
        *("id", "status", "file_name", "created_at", "finished_at", "error")
    }
    assert f'<a class="break" href="/reports/{ids[-1]}">21.csv</a>' in page.text
    assert is_page(page)


async def test_what_is_not_there(browser: httpx2.AsyncClient) -> None:
    unknown = uuid4()
    page = await browser.get(f"/reports/{unknown}")

    assert is_page(page, 404)
    assert f"There is no report {unknown}." in text_of(page)
    assert is_page(await browser.get("/reports/1"), 422)
    assert is_page(await browser.delete("/reports"), 405)


def is_form_again(response: httpx2.Response, status: int, message: str) -> bool:
    assert is_page(response, status), response.text
    assert message in text_of(response)
    assert 'role="alert"' in response.text
    return 'action="/reports"' in response.text


async def send(
    browser: httpx2.AsyncClient, content: bytes = b"a\n1\n", email: str = ADDRESS
) -> httpx2.Response:
    return await browser.post("/reports", data={"email": email}, files={"file": ("x.csv", content)})


async def test_a_bad_address(browser: httpx2.AsyncClient) -> None:
    response = await send(browser, email='"ann')

    assert is_form_again(response, 422, "Please change what is marked below.")
    assert 'id="email-problem">Not a valid e-mail address: ' in response.text
    assert 'value="&#34;ann" required aria-describedby="email-problem' in response.text
    assert response.text.count('aria-invalid="true"') == 1


async def test_an_empty_file(browser: httpx2.AsyncClient) -> None:
    response = await send(browser, b"")

    assert is_form_again(response, 422, "The file is empty.")
    assert 'value="ann@example.com"' in response.text


async def test_no_file(browser: httpx2.AsyncClient) -> None:
    # As browsers send a form in which no file was chosen.
    body = (
        b'--x\r\nContent-Disposition: form-data; name="email"\r\n\r\nann@example.com\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = await browser.post("/reports", content=body, headers=headers)

    assert is_form_again(response, 422, "Choose a CSV file.")
    assert 'value="ann@example.com"' in response.text


async def test_a_bad_priority(browser: httpx2.AsyncClient) -> None:
    fields = {"email": "ann@example.com", "priority": "often"}
    response = await browser.post("/reports", data=fields, files={"file": b"a\n1\n"})

    assert is_form_again(response, 422, "Priority: must be one of urgent, high")


@pytest.fixture
def small_limit(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("MAX_UPLOAD_BYTES", "1000")


@pytest.mark.usefixtures("small_limit")
async def test_a_file_that_is_too_large(browser: httpx2.AsyncClient) -> None:
    """The server looks at its size only, and knows nothing of the address."""
    response = await send(browser, b"a\n" * 1000)

    assert is_form_again(response, 413, "The file is larger than 1000 B.")


@pytest.fixture
def small_queue(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("TASKS_MAX_CONCURRENCY", "1")
    settings_env.setenv("TASKS_QUEUE_SIZE", "1")


@pytest.mark.usefixtures("small_queue")
async def test_a_full_queue(browser: httpx2.AsyncClient, runner: TaskRunner) -> None:
    gate = asyncio.Event()
    for _ in range(2):  # one runs, one waits
        runner.submit(gate.wait)
    response = await send(browser)
    gate.set()

    assert is_form_again(response, 503, "No more work can be accepted at the moment.")
    assert 'value="ann@example.com"' in response.text
    assert "Retry-After" in response.headers


@pytest.fixture
def broken_commits() -> Iterator[None]:
    def fail(session: Session) -> None:
        if any(isinstance(row, Report) for row in session.new):
            raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    event.listen(Session, "before_commit", fail)
    yield
    event.remove(Session, "before_commit", fail)


@pytest.mark.usefixtures("broken_commits")
async def test_a_failed_commit(browser: httpx2.AsyncClient) -> None:
    response = await send(browser)

    assert is_form_again(response, 503, "The service is busy or stopping.")
    assert 'value="ann@example.com"' in response.text


async def test_a_bug(browser: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("shutil.copyfileobj", fail)
    response = await send(browser)

    assert is_form_again(response, 500, "An unexpected error occurred; it was logged.")
    assert 'value="ann@example.com"' in response.text


async def test_a_page_of_another_site_may_not_upload(browser: httpx2.AsyncClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    del browser.headers["X-API-Key"]
    response = await browser.post("/reports", headers=headers, data={"email": "ann@example.com"})

    assert is_page(response, 403)
    assert "<form" not in response.text


async def test_the_way_to_the_sign_in(browser: httpx2.AsyncClient) -> None:
    del browser.headers["X-API-Key"]
    response = await browser.get("/reports?page=2")

    assert response.status_code == 303
    assert response.headers["Location"].startswith("/sign-in?next=/reports")


async def test_other_paths_are_left_alone(browser: httpx2.AsyncClient) -> None:
    response = await browser.get("/reportsandmore")

    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["reports.css", "report.js", "upload.js"])
async def test_files_of_the_pages(browser: httpx2.AsyncClient, name: str) -> None:
    del browser.headers["X-API-Key"]

    assert (await browser.get(f"/static/reports/{name}")).status_code == 200
