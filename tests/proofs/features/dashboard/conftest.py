"""Fixtures of the task page's proofs, most of them from the service's own tests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.features.dashboard.conftest import app, browser, gate, submit, watcher
from tests.features.dashboard.test_browser import KEY, folder, server
from tests.pages.browser import open_page, sign_in
from tests.server import ServerProcess

__all__ = ["app", "browser", "folder", "gate", "server", "submit", "watcher"]

# The page updates every 0.4 s instead of 2 s, and gives up an update after 1.2 s instead of 6 s.
FIVE_TIMES_FASTER = """
const repeat = setInterval, limit = AbortSignal.timeout;
setInterval = (update, every) => repeat(update, every / 5);
AbortSignal.timeout = (patience) => limit.call(AbortSignal, patience / 5);
"""


@pytest.fixture
def settings_env(settings_env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    settings_env.setenv("TASKS_QUEUE_SIZE", "20000")
    return settings_env


@pytest.fixture
def page(browser: Browser, server: ServerProcess) -> Iterator[Page]:
    with open_page(browser, server.url) as page:
        page.add_init_script(FIVE_TIMES_FASTER)
        sign_in(page, "/dashboard", KEY)
        yield page
