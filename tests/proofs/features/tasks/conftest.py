"""Fixtures from the service's own tests of `/tasks`."""

from tests.features.tasks.conftest import app, gate, submit, watcher

__all__ = ["app", "gate", "submit", "watcher"]
