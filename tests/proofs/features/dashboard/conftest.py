"""The fixtures of the service's own tests of the task page."""

from tests.features.dashboard.conftest import app, browser, gate, submit, watcher
from tests.features.dashboard.test_browser import folder, page, server, session

__all__ = ["app", "browser", "folder", "gate", "page", "server", "session", "submit", "watcher"]
