"""A real browser for tests of pages, and the accessibility check that runs in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A browser under test has nobody to ask and nothing to report.
_QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE = 30_000
"""Milliseconds until what a test expects must be there: machines of CI are slow."""
_NONE = "no browser: install Debian's chromium or Chrome, or `uv run playwright install chromium`"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a browser; import this fixture into a conftest. Skips where none is installed.

    All tests of a module that has it are plain functions: Playwright's own event loop stays
    until the end of the module.
    """
    with sync_playwright() as playwright:
        path = _find(playwright)
        if path is None:
            pytest.skip(_NONE)
        expect.set_options(timeout=_PATIENCE)
        browser = playwright.chromium.launch(executable_path=path, args=_QUIET)
        yield browser
        browser.close()


def _find(playwright: Playwright) -> str | None:
    found = (shutil.which(name) for name in (*_BROWSERS, playwright.chromium.executable_path))
    return next((path for path in found if path), None)


@contextmanager
def open_page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Open an empty tab of a new profile; whatever it complains about is an error at the end."""
    complaints: list[str] = []
    context = browser.new_context(base_url=url, **options)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text)
            if "Content Security Policy" in message.text else None)  # fmt: skip
    yield page
    context.close()
    assert complaints == []


def sign_in(page: Page, path: str, key: str) -> None:
    """Go to a page and through the sign-in before it."""
    page.goto(path)
    page.get_by_label("API key").fill(key)
    with page.expect_event("load"):  # a browser drops keys and clicks before it paints
        page.get_by_role("button", name="Sign in").click()


def find_barriers(page: Page) -> list[str]:
    """Return what axe finds on a page that is serious or worse for people with a disability."""
    page.wait_for_load_state()  # with its style
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']}"
        for rule in found
        for node in rule["nodes"]
        if rule["impact"] in {"serious", "critical"}
    ]
