"""Fixtures: the service with a few tasks that can be held."""

from tests.tasks.held import app, gate, submit, watcher

__all__ = ["app", "gate", "submit", "watcher"]
