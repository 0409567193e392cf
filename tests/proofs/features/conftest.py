"""Fixtures for the proofs of features."""

import pytest


@pytest.fixture
def nothing_pruned(settings_env: pytest.MonkeyPatch) -> None:
    """Keep rows of long ended tasks, for proofs that write old end times into the table."""
    settings_env.setenv("TASKS_RETENTION", "inf")
