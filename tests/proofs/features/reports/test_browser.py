"""The form and the report page in a real browser."""

import re

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.features.reports.conftest import SAMPLE
from tests.features.reports.test_browser import (
    KEY,
    Gate,
    fill_in,
    gate,
    heading,
    open_form,
    page,
    send_unchecked,
    server,
    upload,
)
from tests.pages.browser import find_barriers, open_page
from tests.server import ServerProcess

__all__ = ["gate", "page", "server"]  # fixtures

HOSTILE = "</td><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


def refresh_often(route: Route) -> None:
    """Serve the page of a report with a refresh after 1 s instead of 3 s."""
    answer = route.fetch()
    route.fulfill(response=answer, body=answer.text().replace('content="3"', 'content="1"'))


def test_upload_works_without_scripts(browser: Browser, server: ServerProcess, gate: Gate) -> None:
    with open_page(browser, server.url, java_script_enabled=False) as page:
        open_form(page)
        upload(page, SAMPLE)
        page.route(re.compile(r":\d+/reports/"), refresh_often)
        page.reload()  # Playwright does not route the redirect from the form
        expect(page.locator("#report h2")).to_have_text("Reading the file")
        gate.open()

        expect(page.get_by_role("article")).to_have_count(6, timeout=20_000)


def test_progress_page_leads_to_the_sign_in_when_the_session_ends(page: Page, gate: Gate) -> None:
    upload(page, SAMPLE)
    page.context.clear_cookies()

    expect(heading(page)).to_have_text("Sign in")
    gate.open()
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(heading(page)).to_have_text("weather.csv")


def test_text_of_the_file_is_escaped(page: Page, gate: Gate) -> None:
    gate.open()
    cells = f'"{HOSTILE}"\n"{HOSTILE}"\n'
    upload(page, cells.encode(), name="<script>window.hacked = 1<script>.csv")

    expect(page.get_by_role("article").get_by_role("heading")).to_have_text(HOSTILE)
    expect(page.get_by_role("cell").first).to_contain_text(HOSTILE)
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        (360, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.exhaustive),
        pytest.param(360, "light", marks=pytest.mark.exhaustive),
    ],
)
def test_report_pages_are_accessible_in_any_colors_and_width(
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
        columns = [f"column_{number}_" + "x" * 100 for number in range(4)]
        upload(page, ",".join(columns).encode() + b"\n1,,2,3")
        check()
        gate.open()
        expect(page.get_by_role("article")).to_have_count(4)
        check()
        upload(page, b"a,b\n1\n")
        expect(page.get_by_role("alert")).to_be_visible()
        check()
        page.goto("/reports/00000000-0000-0000-0000-000000000000")
        check()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) > 384) is (scheme == "light")


def test_too_large_file_is_refused_before_it_is_sent(page: Page) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    fill_in(page, b"a\n" * 60_000)
    page.get_by_role("button", name="Upload").click()

    expect(page.get_by_role("alert")).to_have_text("the file is too large")
    assert "POST" not in sent


def test_error_of_a_proxy_is_shown(page: Page) -> None:
    page.route("**/reports", lambda route: route.fulfill(status=413, body="<h1>Too large</h1>"))
    page.get_by_label("File").set_input_files({"name": "a.csv", "mimeType": "", "buffer": b"a"})
    send_unchecked(page, "ann@example.com")

    expect(page.get_by_role("alert")).to_have_text("the service answered with 413")
    expect(page.get_by_role("button", name="Upload")).to_be_enabled()
