"""Fixtures for the proofs of features."""

import pytest


@pytest.fixture
def nothing_pruned(settings_env: pytest.MonkeyPatch) -> None:
    """Keep tasks that ended long ago: those whose end a proof has written."""
    settings_env.setenv("TASKS_RETENTION", "inf")
