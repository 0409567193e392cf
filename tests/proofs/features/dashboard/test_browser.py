"""The task page in a real browser: live updates, buttons, sessions and accessibility."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.databases.server import run
from tests.features.dashboard.test_browser import KEY, cancel_button, start
from tests.pages.browser import find_barriers, open_page, sign_in
from tests.server import ServerProcess

CUT_OFF = """[...document.querySelectorAll(".scroll")]
  .filter((table) => table.scrollWidth > table.clientWidth).map((table) => table.ariaLabel)"""
SMALLEST_BUTTON = """Math.min(
  ...[...document.querySelectorAll("button")].map((button) => button.offsetHeight))"""


def test_update_during_a_click_does_not_lose_the_click(page: Page, server: ServerProcess) -> None:
    task_id = start(server, "/hold")
    expect(page.locator("#live")).to_have_text("Live.")
    page.locator(cancel_button(task_id)).hover()
    page.mouse.down()
    page.evaluate("document.getElementById('figures').dataset.old = 'yes'")
    other = start(server, "/hold")
    for _ in range(3):  # the first may be under way already, the last not shown yet
        with page.expect_response("**/dashboard"):
            pass
    expect(page.locator(cancel_button(other))).to_have_count(0)
    expect(page.locator("#figures")).to_have_attribute("data-old", "yes")  # not updated
    page.mouse.up()

    expect(page.locator("p.notice")).to_have_text("The task is cancelled.")
    expect(page.locator(cancel_button(task_id))).to_have_count(0)
    expect(page.locator(cancel_button(other))).to_have_count(1)


def test_dead_task_can_be_retried_from_the_page(
    page: Page, server: ServerProcess, folder: Path, shared_database_url: str
) -> None:
    task_id = start(server, "/fail")
    row = page.locator("#durable tr", has=page.locator(f"#durable-retry-{task_id}"))
    expect(row).to_contain_text("failed")
    dead = "UPDATE background_tasks SET state = 'dead' WHERE id = :id"
    run(shared_database_url, dead, id=task_id)
    expect(row).to_contain_text("dead")
    (folder / "fixed").touch()
    row.get_by_role("button").click()

    expect(page.locator("p.notice")).to_have_text("The task will run again.")
    expect(page.locator("#durable .legend")).to_contain_text("succeeded")
    expect(row).to_have_count(0)
    (folder / "fixed").unlink()


def test_failure_stays_open_and_its_text_is_escaped(page: Page, server: ServerProcess) -> None:
    task_id = start(server, "/fail")
    details = page.locator("#failures details", has=page.locator(f'[title="{task_id}"]'))
    details.locator("summary").click()
    expect(details.locator("pre")).to_contain_text("Traceback (most recent call last):")
    page.evaluate("document.getElementById('failures').dataset.old = 'yes'")
    expect(page.locator("#failures")).not_to_have_attribute("data-old", "yes")

    expect(details.locator("pre")).to_be_visible()
    expect(details.locator("pre")).to_contain_text("<script>window.hacked = 1</script>")
    expect(details.locator("summary")).to_contain_text("<img src=x onerror=")
    assert page.evaluate("window.hacked") is None


def test_updates_can_be_paused_and_resumed(page: Page, server: ServerProcess) -> None:
    expect(page.locator("#live")).to_have_text("Live.")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("#live")).to_have_text("Paused.")
    task_id = start(server, "/hold")
    with open_page(page.context.browser, server.url) as other:  # type: ignore[arg-type]
        sign_in(other, "/dashboard", KEY)
        expect(other.locator(cancel_button(task_id))).to_have_count(1)
    expect(page.locator(cancel_button(task_id))).to_have_count(0)
    page.get_by_role("button", name="Continue").click()

    expect(page.locator("#live")).to_have_text("Live.")
    expect(page.locator(cancel_button(task_id))).to_have_count(1)


def test_page_says_not_live_when_the_service_hangs(page: Page) -> None:
    expect(page.locator("#live")).to_have_text("Live.")
    page.route("**/dashboard", lambda _: None)  # never answers

    expect(page.locator("#live")).to_have_text("Not live.")
    page.unroute("**/dashboard")
    expect(page.locator("#live")).to_have_text("Live.")


def test_link_from_another_site_keeps_the_session(page: Page, server: ServerProcess) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Background tasks")
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    page.goto(f"{elsewhere}/sign-in")
    page.evaluate("url => { location.href = url }", f"{server.url}/dashboard?notice=retried")

    expect(page.get_by_role("heading", level=1)).to_have_text("Background tasks")
    expect(page).to_have_url(f"{server.url}/dashboard?notice=retried")


def test_form_of_another_site_cannot_cancel_a_task(page: Page, server: ServerProcess) -> None:
    task_id = start(server, "/hold")
    form = (
        f'<form method="post" action="{server.url}/dashboard/cancel">'
        f'<button name="task" value="{task_id}">Win a prize</button></form>'
    )

    def answer(route: Route) -> None:
        route.fulfill(body=form, content_type="text/html")

    page.route("http://localhost/prize", answer)
    page.goto("http://localhost/prize")
    page.get_by_role("button").click()
    # The cookie is strict, so the form has none; it is refused before the key is checked.
    expect(page.locator("body")).to_contain_text("this was sent by a page of another site")
    page.goto("/dashboard")

    expect(page.locator(cancel_button(task_id))).to_have_count(1)


def test_page_asks_for_a_key_when_the_session_has_ended(page: Page) -> None:
    expect(page.get_by_text("Live.")).to_be_visible()
    page.context.clear_cookies()

    expect(page.get_by_label("API key")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_task_pages_are_accessible_in_any_colors_and_width(
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
        page.get_by_role("button", name="Pause", exact=True).click()
        page.locator("#failures summary").first.click()
        assert find_barriers(page) == []
        page.locator("#failures details[open] a").click()
        expect(page.locator("pre")).to_contain_text("Traceback")
        assert find_barriers(page) == []
        page.goto("/dashboard/tasks?state=failed")
        expect(page.get_by_role("button", name="Retry")).to_be_visible()
        assert find_barriers(page) == []
        page.goto("/dashboard")

        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CUT_OFF) == []
        assert (page.evaluate(SMALLEST_BUTTON) >= 44) is (width < 500)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) > 384) is (scheme == "light")
