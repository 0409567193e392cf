"""Which migrations a database has; in development an empty one gets them all at the start.

Any later migration is for its author to read, and for `alembic upgrade head` to apply.
"""

from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from . import backend
from .settings import DatabaseSettings

logger = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
UNKNOWN_REMEDY = (
    "the code of another branch or of a later release has them: run `alembic downgrade` there;"
    " or, if their files are gone for good, `alembic stamp --purge head` here, and let"
    " `alembic revision --autogenerate` write what is to be undone"
)


def versions_in(connection: Connection) -> set[str]:
    """Return what Alembic has written into the database; nothing before the first migration."""
    return set(MigrationContext.configure(connection).get_current_heads())


def unknown_to(scripts: ScriptDirectory, versions: set[str]) -> set[str]:
    """Return the versions that this code does not have."""
    return versions - {script.revision for script in scripts.walk_revisions()}


def is_current(versions: set[str], scripts: ScriptDirectory) -> bool:
    """Say whether a database of these versions has had every migration of this code.

    One that this code does not know comes from a later release, which was rolled back: it has all
    of this one's.
    """
    return versions >= set(scripts.get_heads()) or bool(unknown_to(scripts, versions))


def migrate(settings: DatabaseSettings) -> None:
    """Apply every migration to a database that has had none; processes take turns.

    Raises OperationalError when the database cannot be reached.
    """
    engine = backend.migration_engine(settings.sync_url)
    with engine.execution_options(**backend.READ_ONLY).connect() as connection:
        versions = versions_in(connection)  # known without a wait for whoever writes
    if unknown := sorted(unknown_to(ScriptDirectory(MIGRATIONS), versions)):
        logger.warning(
            "migrations of the database are not in this code",
            unknown=unknown,
            remedy=UNKNOWN_REMEDY,
        )
    if versions:
        return
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["settings"] = settings
    command.upgrade(config, "head")
