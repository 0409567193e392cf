"""The fixtures of the project under test, and which proofs are about something it has."""

from tests.server import PROJECT

pytest_plugins = ["tests.conftest"]

# What a proof needs of the project. Where it is missing, so is what the proof is about.
NEEDS = {
    "features/notifications": "app/features/notifications",
    "features/reports": "app/features/reports",
    "tasks/celery": "app/tasks/celery",
    "tasks/celery/test_metrics.py": "app/features/metrics",
    "tasks/durable/test_postgresql.py": "app/db/backends/postgresql.py",
    "tasks/durable/test_sqlite.py": "app/db/backends/sqlite.py",
}
collect_ignore = [proof for proof, needed in NEEDS.items() if not (PROJECT / needed).exists()]
