"""Which migrations the database has; in development, the rest is applied at the start.

Production runs `alembic upgrade head` itself.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from . import backend
from .settings import DatabaseSettings

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def versions_in(connection: Connection) -> set[str]:
    """Return what Alembic has written into the database; nothing before the first migration."""
    return set(MigrationContext.configure(connection).get_current_heads())


def is_current(versions: set[str], scripts: ScriptDirectory) -> bool:
    """Say whether a database of these versions has had every migration of this code.

    One that this code does not know comes from a later release, which was rolled back: it has all
    of this one's.
    """
    known = {script.revision for script in scripts.walk_revisions()}
    return versions >= set(scripts.get_heads()) or not versions <= known


def migrate(settings: DatabaseSettings) -> None:
    """Apply every migration that the database does not have yet; processes take turns.

    Raises OperationalError when the database cannot be reached.
    """
    engine = backend.migration_engine(settings.sync_url)
    with engine.execution_options(**backend.READ_ONLY).connect() as connection:
        if versions_in(connection) == set(ScriptDirectory(MIGRATIONS).get_heads()):
            return  # without a wait for whoever writes
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["settings"] = settings
    command.upgrade(config, "head")
