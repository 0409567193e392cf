"""Fixtures of the task page's proofs, most of them from the service's own tests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.features.dashboard.conftest import app, browser, gate, submit, watcher
from tests.features.dashboard.test_browser import KEY, folder, server
from tests.pages.browser import open_page, sign_in
from tests.server import ServerProcess

__all__ = ["app", "browser", "folder", "gate", "server", "submit", "watcher"]


@pytest.fixture
def settings_env(settings_env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    settings_env.setenv("TASKS_QUEUE_SIZE", "20000")
    return settings_env


def update_often(route: Route) -> None:
    """Serve the script of the page with updates every 0.4 s instead of 2 s."""
    answer = route.fetch()
    before, interval, after = answer.text().partition("interval = 2000;")
    assert interval
    route.fulfill(response=answer, body=f"{before}interval = 400;{after}")


@pytest.fixture
def page(browser: Browser, server: ServerProcess) -> Iterator[Page]:
    with open_page(browser, server.url) as page:
        page.route("**/dashboard.js", update_often)
        sign_in(page, "/dashboard", KEY)
        yield page
