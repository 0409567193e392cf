"""The task page in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.databases.server import run
from tests.pages.browser import find_barriers, open_page, sign_in
from tests.server import ServerProcess

KEY = "test-key"
HOSTILE = "</td><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
SERVICE = f"""
import asyncio
from pathlib import Path
from fastapi import APIRouter
from app.db import SessionDep
from app.feature import Feature, load_features
from app.main import create_app
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

# Playwright's wait_for_function() needs eval(), which the policy of the page forbids.
UPDATE = """() => new Promise((come, late) => {
  setTimeout(late, 30000, "no update has come");
  setInterval(() => "figures" in latest && "running" in latest && come(), 50);
})"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    (folder / "service.py").write_text(SERVICE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(
    browser: Browser,  # noqa: ARG001 - or skip
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


@pytest.fixture
def page(browser: Browser, server: ServerProcess) -> Iterator[Page]:
    with open_page(browser, server.url) as page:
        yield page


def start(server: ServerProcess, path: str) -> str:
    headers = {"X-API-Key": KEY}
    task_id = httpx2.post(server.url + path, headers=headers, timeout=30).json()
    assert isinstance(task_id, str)
    return task_id


def cancel_button(task_id: str) -> str:
    return f"#cancel-{task_id}"


def test_sign_in_with_a_wrong_key_then_a_right_one(page: Page) -> None:
    sign_in(page, "/dashboard", "wrong")
    expect(page.get_by_role("alert")).to_have_text("The API key is not known.")
    expect(page.get_by_label("API key")).to_be_focused()
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Background tasks")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto("/dashboard")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_it_is_live(page: Page, server: ServerProcess) -> None:
    sign_in(page, "/dashboard", KEY)
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


def test_a_running_task_is_cancelled_with_the_keyboard(page: Page, server: ServerProcess) -> None:
    task_id = start(server, "/hold")
    sign_in(page, "/dashboard", KEY)
    page.locator(cancel_button(task_id)).press("Enter")

    expect(page.locator("p.notice")).to_have_text("The task is cancelled.")
    expect(page.locator(cancel_button(task_id))).to_have_count(0)


def test_an_update_does_not_swallow_a_click(page: Page, server: ServerProcess) -> None:
    task_id = start(server, "/hold")
    sign_in(page, "/dashboard", KEY)
    expect(page.locator("#live")).to_have_text("Live.")
    page.locator(cancel_button(task_id)).hover()
    page.mouse.down()
    page.evaluate("document.getElementById('figures').dataset.old = 'yes'")
    other = start(server, "/hold")
    page.evaluate(UPDATE)
    expect(page.locator(cancel_button(other))).to_have_count(0)
    expect(page.locator("#figures")).to_have_attribute("data-old", "yes")  # and would move it
    page.mouse.up()

    expect(page.locator("p.notice")).to_have_text("The task is cancelled.")
    expect(page.locator(cancel_button(task_id))).to_have_count(0)
    expect(page.locator(cancel_button(other))).to_have_count(1)


def test_a_dead_task_is_started_over(
    page: Page, server: ServerProcess, folder: Path, shared_database_url: str
) -> None:
    task_id = start(server, "/fail")
    sign_in(page, "/dashboard", KEY)
    row = page.locator("#durable tr", has=page.locator(f"#durable-retry-{task_id}"))
    expect(row).to_contain_text("failed")
    dead = "UPDATE background_tasks SET state = 'dead' WHERE id = :id"
    run(shared_database_url, dead, id=task_id)
    expect(row).to_contain_text("dead")
    (folder / "fixed").touch()
    row.get_by_role("button").click()

    expect(page.locator("p.notice")).to_have_text("The task starts over.")
    expect(page.locator("#durable .legend")).to_contain_text("succeeded")
    expect(row).to_have_count(0)
    (folder / "fixed").unlink()


def test_a_failure_stays_open_and_hostile_text_is_text(page: Page, server: ServerProcess) -> None:
    task_id = start(server, "/fail")
    sign_in(page, "/dashboard", KEY)
    details = page.locator("#failures details", has=page.locator(f'[title="{task_id}"]'))
    details.locator("summary").click()
    expect(details.locator("pre")).to_contain_text("Traceback (most recent call last):")
    page.evaluate("document.getElementById('failures').dataset.old = 'yes'")
    expect(page.locator("#failures")).not_to_have_attribute("data-old", "yes")

    expect(details.locator("pre")).to_be_visible()
    expect(details.locator("pre")).to_contain_text("<script>window.hacked = 1</script>")
    expect(details.locator("summary")).to_contain_text("<img src=x onerror=")
    assert page.evaluate("window.hacked") is None


def test_it_can_be_paused(page: Page, server: ServerProcess) -> None:
    sign_in(page, "/dashboard", KEY)
    expect(page.locator("#live")).to_have_text("Live.")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live")).to_have_text("Paused.")
    task_id = start(server, "/hold")
    with open_page(page.context.browser, server.url) as other:  # type: ignore[arg-type]
        sign_in(other, "/dashboard", KEY)
        expect(other.locator(cancel_button(task_id))).to_have_count(1)
    expect(page.locator(cancel_button(task_id))).to_have_count(0)
    page.get_by_role("button", name="Go on").click()

    expect(page.locator("#live")).to_have_text("Live.")
    expect(page.locator(cancel_button(task_id))).to_have_count(1)


def test_it_works_without_a_script(browser: Browser, server: ServerProcess) -> None:
    task_id = start(server, "/hold")
    with open_page(browser, server.url, java_script_enabled=False) as page:
        sign_in(page, "/dashboard", KEY)
        expect(page.locator("noscript meta")).to_have_attribute("http-equiv", "refresh")
        expect(page.get_by_role("button", name="Pause")).to_have_count(0)
        page.locator(cancel_button(task_id)).click()
        expect(page.locator("p.notice")).to_have_text("The task is cancelled.")
        page.get_by_role("link", name="Refresh").click()
        expect(page.locator("p.notice")).to_have_count(0)


def test_a_link_of_another_site_finds_who_is_signed_in(page: Page, server: ServerProcess) -> None:
    sign_in(page, "/dashboard", KEY)
    expect(page.get_by_role("heading", level=1)).to_have_text("Background tasks")
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    page.goto(f"{elsewhere}/sign-in")
    page.evaluate("url => { location.href = url }", f"{server.url}/dashboard?notice=retried")

    expect(page.get_by_role("heading", level=1)).to_have_text("Background tasks")
    expect(page).to_have_url(f"{server.url}/dashboard?notice=retried")


def test_a_form_of_another_site_cancels_nothing(page: Page, server: ServerProcess) -> None:
    task_id = start(server, "/hold")
    sign_in(page, "/dashboard", KEY)
    form = (
        f'<form method="post" action="{server.url}/dashboard/cancel">'
        f'<button name="task" value="{task_id}">Win a prize</button></form>'
    )

    def answer(route: Route) -> None:
        route.fulfill(body=form, content_type="text/html")

    page.route("http://localhost/prize", answer)
    page.goto("http://localhost/prize")
    page.get_by_role("button").click()
    # The cookie is strict, so the form comes without it; and it is refused before anybody asks.
    expect(page.locator("body")).to_contain_text("this was sent by a page of another site")
    page.goto("/dashboard")

    expect(page.locator(cancel_button(task_id))).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_stands_in_the_way_of_anybody(
    browser: Browser, server: ServerProcess, scheme: str, width: int
) -> None:
    start(server, "/hold")
    start(server, "/fail")
    size = {"width": width, "height": 800}
    with open_page(browser, server.url, color_scheme=scheme, viewport=size) as page:
        sign_in(page, "/dashboard", "wrong")
        expect(page.get_by_role("alert")).to_be_visible()
        assert find_barriers(page) == []
        sign_in(page, "/dashboard", KEY)
        expect(page.locator("#durable")).to_contain_text("failed")
        page.get_by_role("button", name="Pause").click()
        page.locator("#failures summary").first.click()
        assert find_barriers(page) == []

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        button = page.locator("#running button").first.bounding_box()
        assert button is not None
        assert button["x"] + button["width"] <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) > 384) is (scheme == "light")
