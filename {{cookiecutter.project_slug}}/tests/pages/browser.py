"""A real browser for tests of pages, and the accessibility check that runs in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No first-run dialogs, and no requests of the browser itself.
_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_TIMEOUT = 30_000
"""Milliseconds that a page has to meet an expectation: CI machines are slow."""
_MISSING = "no browser: install chromium or Chrome, or run `uv run playwright install chromium`"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a browser, or skip where none is installed; import this fixture into a conftest.

    A module that uses it can only have plain test functions, because Playwright keeps an event
    loop running until the end of the module.
    """
    with sync_playwright() as playwright:
        path = _find(playwright)
        if path is None:
            pytest.skip(_MISSING)
        expect.set_options(timeout=_TIMEOUT)
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        browser.close()


def _find(playwright: Playwright) -> str | None:
    paths = (shutil.which(name) for name in (*_BROWSERS, playwright.chromium.executable_path))
    return next((path for path in paths if path), None)


@contextmanager
def open_page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Open an empty page in a new profile; fail at the end if the page reported an error."""
    errors: list[str] = []
    context = browser.new_context(base_url=url, **options)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text)
            if "Content Security Policy" in message.text else None)  # fmt: skip
    yield page
    context.close()
    assert errors == []


def sign_in(page: Page, path: str, key: str) -> None:
    """Go to a page, and sign in with `key` on the form that is shown instead."""
    page.goto(path)
    page.get_by_label("API key").fill(key)
    with page.expect_event("load"):  # a browser drops input before it paints
        page.get_by_role("button", name="Sign in").click()


def find_barriers(page: Page) -> list[str]:
    """Return the serious and critical accessibility problems that axe finds on a page."""
    page.wait_for_load_state()  # with its stylesheet
    page.evaluate(AXE_SCRIPT)
    violations = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']}"
        for rule in violations
        for node in rule["nodes"]
        if rule["impact"] in {"serious", "critical"}
    ]
