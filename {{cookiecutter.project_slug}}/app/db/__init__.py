"""Database access.

- `settings.py` the settings; `backend.py` what is specific to this database
- `database.py` `Database` and its sessions, for requests (`SessionDep`) and tasks (`task_session`)
- `base.py` `Base` and column types
- `migrate.py` reads which migrations a database has, and sets up an empty one
- `readiness.py` checks whether requests would succeed
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
