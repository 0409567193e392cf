"""Which migrations the database has; in development, the rest is applied at the start.

Production runs `alembic upgrade head` itself.
"""

from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Connection, inspect, text

from . import backend
from .settings import DatabaseSettings

logger = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


@dataclass(frozen=True)
class Revisions:
    """The ids of this code's migrations, `heads` being those that no other builds on."""

    known: frozenset[str]
    heads: frozenset[str]

    def are_in(self, versions: set[str]) -> bool:
        """Say whether a database of these versions has had every migration.

        One that this code does not know comes from a later release, which was rolled back: it
        has all of this one's.
        """
        return self.heads <= versions or not versions <= self.known


def read_revisions() -> Revisions:
    """Read the migrations of this code."""
    # A tenth of a second and ten megabytes, for those only who ask: no import of the application.
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    scripts = ScriptDirectory(MIGRATIONS)
    known = frozenset(script.revision for script in scripts.walk_revisions())
    return Revisions(known, frozenset(scripts.get_heads()))


def versions_in(connection: Connection) -> set[str]:
    """Return what Alembic has written into the database; nothing before the first migration."""
    if not inspect(connection).has_table("alembic_version"):
        return set()
    return set(connection.scalars(text("SELECT version_num FROM alembic_version")))


def migrate(settings: DatabaseSettings) -> None:
    """Apply every migration that the database does not have yet; processes take turns.

    Raises OperationalError when the database cannot be reached.
    """
    engine = backend.migration_engine(settings.sync_url)
    with engine.execution_options(**backend.READ_ONLY).connect() as connection:
        versions, revisions = versions_in(connection), read_revisions()
    if revisions.are_in(versions):
        if unknown := sorted(versions - revisions.known):
            logger.warning("migrations of the database are not in this code", unknown=unknown)
        return
    from alembic import command  # noqa: PLC0415 - as above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["settings"] = settings
    command.upgrade(config, "head")
