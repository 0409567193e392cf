"""The task page in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.pages.browser import open_page, sign_in
from tests.server import ServerProcess

KEY = "test-key"
HOSTILE = "</td><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
SERVICE = f"""
import asyncio
from pathlib import Path
from fastapi import APIRouter
from app.db import SessionDep
from app.feature import Feature, load_features
from app.service import create_app
from app.settings import Settings
from app.tasks import Tasks, task

router = APIRouter()

@task(name="hold", timeout=600)
async def hold() -> None:
    await asyncio.Event().wait()

@task(name={HOSTILE!r}, durable=True)
async def fail(message: str) -> None:
    if not Path("fixed").exists():
        raise ValueError(message)

@router.post("/hold", status_code=202)
async def start_to_hold(tasks: Tasks) -> str:
    return tasks.add_task(hold)

@router.post("/fail", status_code=202)
async def start_to_fail(session: SessionDep, tasks: Tasks) -> str:
    return tasks.add_task(fail, {HOSTILE!r})

settings = Settings()
feature = Feature(name="test", router=router, tasks=[hold, fail])
app = create_app(settings, [*load_features(settings), feature])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    (folder / "service.py").write_text(SERVICE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(
    browser: Browser,  # noqa: ARG001 - skips without one
    folder: Path,
    shared_database_url: str,
) -> Iterator[ServerProcess]:
    variables = {
        "API_KEYS": KEY,
        "DATABASE_URL": shared_database_url,
        "TASKS_DRAIN_TIMEOUT": "0",
        "TASKS_MAX_CONCURRENCY": "100",
    }
    with ServerProcess(folder, "service:app", **variables) as server:
        yield server


def start(server: ServerProcess, path: str) -> str:
    headers = {"X-API-Key": KEY}
    task_id = httpx2.post(server.url + path, headers=headers, timeout=30).json()
    assert isinstance(task_id, str)
    return task_id


def cancel_button(task_id: str) -> str:
    return f"#cancel-{task_id}"


def test_a_user_signs_in_cancels_and_signs_out(browser: Browser, server: ServerProcess) -> None:
    with open_page(browser, server.url) as page:
        sign_in(page, "/dashboard", "wrong")
        expect(page.get_by_role("alert")).to_have_text("The API key is not known.")
        expect(page.get_by_label("API key")).to_be_focused()
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Background tasks")
        assert page.evaluate("document.cookie") == ""
        watch_and_cancel(page, server)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        page.goto("/dashboard")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def watch_and_cancel(page: Page, server: ServerProcess) -> None:
    """Check that the page updates itself, then cancel a running task with the keyboard."""
    expect(page.locator("#live")).to_have_text("Live.")
    page.evaluate("window.loadedOnce = true")
    task_id = start(server, "/hold")
    row = page.locator("#running tr", has=page.locator(cancel_button(task_id)))
    expect(row).to_contain_text("hold")
    page.locator(cancel_button(task_id)).focus()
    age = row.locator("td").nth(3).inner_text()
    expect(row.locator("td").nth(3)).not_to_have_text(age)

    expect(page.locator(cancel_button(task_id))).to_be_focused()
    assert page.evaluate("window.loadedOnce") is True
    page.locator(cancel_button(task_id)).press("Enter")
    expect(page.locator("p.notice")).to_have_text("The task is cancelled.")
    expect(page.locator(cancel_button(task_id))).to_have_count(0)


def test_the_page_works_without_javascript(browser: Browser, server: ServerProcess) -> None:
    task_id = start(server, "/hold")
    with open_page(browser, server.url, java_script_enabled=False) as page:
        sign_in(page, "/dashboard", KEY)
        expect(page.locator("noscript meta")).to_have_attribute("http-equiv", "refresh")
        expect(page.get_by_role("button", name="Pause", exact=True)).to_have_count(0)
        page.locator(cancel_button(task_id)).click()
        expect(page.locator("p.notice")).to_have_text("The task is cancelled.")
        page.get_by_role("link", name="Refresh").click()
        expect(page.locator("p.notice")).to_have_count(0)
