"""Database access.

- `settings.py` where the database is
- `backend.py` what each kind of database offers; `backends/` has a file for each
- `database.py` `Database`: its pools and `session()`, the one commit-or-rollback
- `readiness.py` whether requests would work; `connections.py` what is open at a shutdown
- `session.py` how requests (`SessionDep`) and tasks (`task_session`) get one
- `types.py` `Base` and column types; `migrate.py` which migrations a database has
"""

from .backend import NotReadyError, Pool
from .database import Database
from .readiness import Readiness
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
    "current_database",
    "task_session",
    "utc_now",
]
