"""Which migrations a database has had, and all of them for one that is empty.

Alembic knows them, too, but the service asks at every start, and to import Alembic costs more time
and memory than all else in `app/db`.
"""

import re
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from . import backend
from .settings import DatabaseSettings

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
# What a migration is called and what comes before it: one id, or several in parentheses.
_ASSIGNMENT = re.compile(
    r"^(revision|down_revision|depends_on)\b[^=\n]*=\s*(\([^)]*\)|.*)", re.MULTILINE
)
_QUOTED = re.compile(r"[\"'](.+?)[\"']")
_applied = table("alembic_version", column("version_num"))


def migrate(settings: DatabaseSettings) -> None:
    """Apply every migration to a database that has had none; processes take turns.

    Any later migration is for its author to read, and for `alembic upgrade head` to apply. Raises
    OperationalError when the database cannot be reached.
    """
    engine = backend.migration_engine(settings.sync_url)
    with engine.execution_options(**backend.READ_ONLY).connect() as connection:
        if revisions_in(connection):  # known without a wait for whoever writes
            return
    # Only here: no other start needs Alembic.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"settings": settings})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")


def revisions_in(connection: Connection) -> set[str]:
    """Return what Alembic has written into the database; nothing before the first migration."""
    if not inspect(connection).has_table(_applied.name):
        return set()
    return set(connection.execute(select(_applied.c.version_num)).scalars())


class CodeRevisions:
    """The revisions of this code, and those of them that no other one follows."""

    def __init__(self) -> None:
        self.all: set[str] = set()
        followed: set[str] = set()
        for path in (MIGRATIONS / "versions").glob("*.py"):
            for name, value in _ASSIGNMENT.findall(path.read_text(encoding="utf-8")):
                (self.all if name == "revision" else followed).update(_QUOTED.findall(value))
        self.heads = self.all - followed

    def are_in(self, revisions: set[str]) -> bool:
        """Say whether a database of these revisions has had every migration of this code.

        One that this code does not know comes from a later release, which was rolled back: it has
        all of this one's.
        """
        return revisions >= self.heads or not revisions <= self.all
