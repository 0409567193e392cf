"""Database access.

- `settings.py` where the database is; `backend.py` what only this database has
- `database.py` `Database` and its sessions, for requests (`SessionDep`) and tasks (`task_session`)
- `base.py` `Base` and column types
- `migrate.py` which migrations a database has, and all of them for an empty one
- `readiness.py` whether requests would work
"""

from .backend import can_pass
from .base import Base, UtcDateTime, utc_now
from .database import Database, Pool, ReadSessionDep, SessionDep, current_database, task_session
from .settings import DatabaseSettings

__all__ = [
    "Base",
    "Database",
    "DatabaseSettings",
    "Pool",
    "ReadSessionDep",
    "SessionDep",
    "UtcDateTime",
    "can_pass",
    "current_database",
    "task_session",
    "utc_now",
]
