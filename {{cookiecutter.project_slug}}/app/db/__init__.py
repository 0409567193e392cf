"""Database access.

- `settings.py` where the database is; `backend.py` what only this database has
- `database.py` `Database`: its pools and `session()`, the one commit-or-rollback
- `readiness.py` whether requests would work; `connections.py` what is open at a shutdown
- `session.py` how requests (`SessionDep`) and tasks (`task_session`) get one
- `types.py` `Base` and column types; `migrate.py` which migrations a database has
"""

from .backend import can_pass
from .database import Database, Pool
from .readiness import NotReadyError, Readiness
from .session import ReadSessionDep, SessionDep, current_database, task_session
from .settings import DatabaseSettings
from .types import Base, UtcDateTime, utc_now

__all__ = [
    "Base",
    "Database",
    "DatabaseSettings",
    "NotReadyError",
    "Pool",
    "ReadSessionDep",
    "Readiness",
    "SessionDep",
    "UtcDateTime",
    "can_pass",
    "current_database",
    "task_session",
    "utc_now",
]
