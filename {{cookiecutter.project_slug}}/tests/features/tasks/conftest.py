"""Fixtures: a service with tasks that hang or fail."""

from tests.tasks.held import app, gate, submit, watcher

__all__ = ["app", "gate", "submit", "watcher"]
