"""The form and the report page in a real browser: everything that needs one, in one visit."""

import json
from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from tests.pages.browser import find_barriers, open_page, sign_in
from tests.server import ServerProcess

from .conftest import SAMPLE

KEY = "test-key"
SERVICE = """
import asyncio
from typing import Any
from fastapi import APIRouter
from app.feature import Feature, load_features
from app.features.reports import columns
from app.service import create_app
from app.settings import Settings

router = APIRouter()
gate = asyncio.Event()
steps = asyncio.Queue[int]()
analyse = columns.analyse

async def wait_and_analyse(path: Any, described: Any) -> Any:
    while not gate.is_set():
        described(await steps.get(), 6)
    return await analyse(path, described)

columns.analyse = wait_and_analyse

@router.post("/open", status_code=204)
async def open_gate() -> None:
    gate.set()
    steps.put_nowait(6)

@router.post("/step/{done}", status_code=204)
async def step(done: int) -> None:
    steps.put_nowait(done)

@router.post("/close", status_code=204)
async def close_gate() -> None:
    gate.clear()

settings = Settings()
app = create_app(settings, [*load_features(settings), Feature(name="test", router=router)])
"""


class Gate:
    """Holds the analysis of files in the service."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server

    def open(self) -> None:
        self._post("/open")

    def close(self) -> None:
        self._post("/close")

    def step(self, done: int) -> None:
        """Let the analysis report that `done` columns are described."""
        self._post(f"/step/{done}")

    def _post(self, path: str) -> None:
        httpx2.post(self._server.url + path, headers={"X-API-Key": KEY}, timeout=30)


@pytest.fixture(scope="module")
def server(
    browser: Browser,  # noqa: ARG001 - skips without one
    tmp_path_factory: pytest.TempPathFactory,
    shared_database_url: str,
) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("service")
    (folder / "service.py").write_text(SERVICE, encoding="utf-8")
    variables = {
        "API_KEYS": KEY,
        "DATABASE_URL": shared_database_url,
        "TASKS_DRAIN_TIMEOUT": "0",
        "MAX_UPLOAD_BYTES": "100KiB",
    }
    with ServerProcess(folder, "service:app", **variables) as server:
        yield server


@pytest.fixture
def gate(server: ServerProcess) -> Iterator[Gate]:
    gate = Gate(server)
    gate.close()
    yield gate
    gate.open()


@pytest.fixture
def page(browser: Browser, server: ServerProcess) -> Iterator[Page]:
    with open_page(browser, server.url) as page:
        open_form(page)
        yield page


def open_form(page: Page) -> None:
    sign_in(page, "/reports", KEY)
    expect(heading(page)).to_have_text("Upload a CSV file")


def heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def fill_in(page: Page, content: bytes, name: str = "weather.csv") -> None:
    page.goto("/reports")
    file: FilePayload = {"name": name, "mimeType": "text/csv", "buffer": content}
    page.get_by_label("File").set_input_files(file)
    page.get_by_label("E-mail").fill("ann@example.com")


def upload(page: Page, content: bytes, name: str = "weather.csv") -> None:
    fill_in(page, content, name)
    page.get_by_role("button", name="Upload").click()
    expect(heading(page)).to_have_text(name)


def send_unchecked(page: Page, email: str) -> None:
    """Send the form without the validation of the browser."""
    page.evaluate("document.forms.upload.noValidate = true")
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_be_visible()


def test_a_user_uploads_a_file_and_sees_its_report(page: Page, gate: Gate) -> None:
    fill_in(page, SAMPLE)
    send_unchecked(page, "ann@nowhere")

    assert find_barriers(page) == []
    expect(page.get_by_label("E-mail")).to_have_value("ann@nowhere")
    expect(page.get_by_role("alert")).to_contain_text("email: not a valid e-mail address")

    page.get_by_label("E-mail").fill("ann@example.com")
    page.get_by_role("button", name="Upload").click()
    expect(heading(page)).to_have_text("weather.csv")  # the file was still chosen
    expect(page.locator("#report h2")).to_have_text("Reading the file")
    page.evaluate("window.loadedOnce = true")
    for done in (2, 3):
        gate.step(done)
        expect(page.locator("#report")).to_contain_text(f"{done} of 6 columns described.")
        expect(page.get_by_role("progressbar")).to_have_js_property("value", done)
    assert find_barriers(page) == []
    gate.open()

    expect(page.get_by_role("status")).to_have_text("The report is done.")
    expect(page.get_by_role("article")).to_have_count(6)
    expect(page.get_by_role("img", name="Histogram of temperature")).to_be_visible()
    expect(page.get_by_role("article", name="temperature")).to_contain_text("2 empty (4 %)")
    expect(page.get_by_role("link", name="Reports")).to_have_attribute("aria-current", "true")
    assert page.evaluate("window.loadedOnce") is True
    assert find_barriers(page) == []

    with page.expect_download() as download:
        page.get_by_role("link", name="Download as JSON").click()
    assert json.loads(download.value.path().read_text())["statistics"]["rows"] == 50
    page.get_by_role("link", name="Upload a file").click()
    expect(heading(page)).to_have_text("Upload a CSV file")
