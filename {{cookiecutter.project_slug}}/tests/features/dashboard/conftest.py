"""Fixtures: a service with tasks that hang or fail, and a browser."""

from tests.pages.browser import browser
from tests.tasks.held import app, gate, submit, watcher

__all__ = ["app", "browser", "gate", "submit", "watcher"]
