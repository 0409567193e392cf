"""Database access.

- `engine.py` makes an engine that behaves well on SQLite or PostgreSQL
- `database.py` `Database`: its pools and `session()`, the one commit-or-rollback
- `session.py` how requests (`SessionDep`) and tasks (`task_session`) get one
- `types.py` `Base` and column types; `migrate.py` brings a development database up to date
"""

from .database import Database, DatabaseSettings, Pool
from .session import ReadSessionDep, SessionDep, current_database, task_session
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
