"""The form and the report page in a real browser."""

import re
from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from tests.features.reports.conftest import SAMPLE
from tests.pages.browser import find_barriers, open_page, sign_in
from tests.server import ServerProcess

KEY = "test-key"


HOSTILE = "</td><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


SERVICE = """
import asyncio
from typing import Any
from fastapi import APIRouter
from app.feature import Feature, load_features
from app.features.reports import tasks
from app.main import create_app
from app.settings import Settings

router = APIRouter()
gate = asyncio.Event()
analyse = tasks.analyse

async def wait_and_analyse(*arguments: Any) -> Any:
    await gate.wait()
    return await analyse(*arguments)

tasks.analyse = wait_and_analyse

@router.post("/open", status_code=204)
async def open_gate() -> None:
    gate.set()

@router.post("/close", status_code=204)
async def close_gate() -> None:
    gate.clear()

settings = Settings()
app = create_app(settings, [*load_features(settings), Feature(name="test", router=router)])
"""


class Gate:
    """Holds the reading of files in the service."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server

    def open(self) -> None:
        self._post("/open")

    def close(self) -> None:
        self._post("/close")

    def _post(self, path: str) -> None:
        httpx2.post(self._server.url + path, headers={"X-API-Key": KEY}, timeout=30)


@pytest.fixture(scope="module")
def server(
    browser: Browser,  # noqa: ARG001 - or skip
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


def test_it_works_without_a_script(browser: Browser, server: ServerProcess, gate: Gate) -> None:
    with open_page(browser, server.url, java_script_enabled=False) as page:
        open_form(page)
        upload(page, SAMPLE)
        expect(page.locator("#report h2")).to_have_text("Reading the file")
        gate.open()

        expect(page.get_by_role("article")).to_have_count(6, timeout=20_000)


def test_the_end_of_the_session_is_told(page: Page, gate: Gate) -> None:
    upload(page, SAMPLE)
    page.context.clear_cookies()

    expect(heading(page)).to_have_text("Sign in")
    gate.open()
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("weather.csv")


def send_unchecked(page: Page, email: str) -> None:
    """Send the form as a browser would that does not look at what was entered."""
    page.evaluate("document.forms.upload.noValidate = true")
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_be_visible()


def test_what_a_stranger_wrote_is_text(page: Page, gate: Gate) -> None:
    gate.open()
    cells = f'"{HOSTILE}"\n"{HOSTILE}"\n'
    upload(page, cells.encode(), name="<script>window.hacked = 1<script>.csv")

    expect(page.get_by_role("article").get_by_role("heading")).to_have_text(HOSTILE)
    expect(page.get_by_role("cell").first).to_contain_text(HOSTILE)
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_stands_in_the_way_of_anybody(
    browser: Browser, server: ServerProcess, gate: Gate, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 800}
    with open_page(browser, server.url, color_scheme=scheme, viewport=size) as page:

        def check() -> None:
            assert find_barriers(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width

        open_form(page)
        check()
        send_unchecked(page, "ann")
        check()
        columns = [f"column_{number}_" + "x" * 100 for number in range(14)]
        upload(page, ",".join(columns).encode() + b"\n" + b"\n".join([b"1,," + b"2," * 11 + b"3"]))
        check()
        gate.open()
        expect(page.get_by_role("article")).to_have_count(12)
        page.get_by_text("As a table").first.click()
        check()
        page.get_by_role("link", name="Next").first.click()
        expect(page.get_by_role("article")).to_have_count(2)
        upload(page, b"a,b\n1\n")
        expect(page.get_by_role("alert")).to_be_visible()
        check()
        page.goto("/reports/00000000-0000-0000-0000-000000000000")
        check()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) > 384) is (scheme == "light")
