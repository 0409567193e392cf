"""Database access.

- `settings.py` where the database is
- `backend.py` what each kind of database offers; `backends/` has a file for each
- `database.py` `Database`: its pools and `session()`, the one commit-or-rollback
- `session.py` how requests (`SessionDep`) and tasks (`task_session`) get one
- `types.py` `Base` and column types; `migrate.py` brings a development database up to date
"""

from .backend import Pool
from .database import Database
from .session import ReadSessionDep, SessionDep, current_database, task_session
from .settings import DatabaseSettings
from .types import Base, UtcDateTime, utc_now

__all__ = [
    "Base",
    "Database",
    "DatabaseSettings",
    "Pool",
    "ReadSessionDep",
    "SessionDep",
    "UtcDateTime",
    "current_database",
    "task_session",
    "utc_now",
]
