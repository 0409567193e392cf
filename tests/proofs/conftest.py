"""The fixtures of the project under test, and the choice of the proofs that apply to it."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from app.db.backend import SCHEMES
from tests.server import PROJECT

pytest_plugins = ["tests.conftest"]
# A slow machine must not fail a proof.
settings.register_profile(
    "no deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("no deadline")

# The path that each proof needs in the project; without it the proof is not collected.
NEEDS = {
    "features/dashboard": "app/features/dashboard",
    "features/metrics": "app/features/metrics",
    "features/notifications": "app/features/notifications",
    "features/pages": "app/pages",
    "features/reports": "app/features/reports",
    "tasks/celery": "app/tasks/celery",
    "tasks/celery/test_metrics.py": "app/features/metrics",
}
# Proofs about one database are collected only when the project uses it.
ONLY_ON = {
    "db/test_postgresql.py": "postgresql",
    "db/test_sqlite.py": "sqlite",
    "features/dashboard/test_postgresql.py": "postgresql",
    "tasks/durable/test_postgresql.py": "postgresql",
    "tasks/durable/test_sqlite.py": "sqlite",
}
collect_ignore = [
    *(proof for proof, needed in NEEDS.items() if not (PROJECT / needed).exists()),
    *(proof for proof, database in ONLY_ON.items() if database not in SCHEMES),
]


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Clear the umask, so that the modes of files are those that the code asks for."""
    before = os.umask(0)
    yield
    os.umask(before)
