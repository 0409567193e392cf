"""In development a database that is empty gets all migrations at the start.

Any later migration is for its author to read, and for `alembic upgrade head` to apply.
"""

import structlog

from . import backend
from .revisions import MIGRATIONS, CodeRevisions, revisions_in
from .settings import DatabaseSettings

logger = structlog.get_logger(__name__)

UNKNOWN_REMEDY = (
    "the code of another branch or of a later release has them: run `alembic downgrade` there;"
    " or, if their files are gone for good, `alembic stamp --purge head` here, and let"
    " `alembic revision --autogenerate` write what is to be undone"
)


def migrate(settings: DatabaseSettings) -> None:
    """Apply every migration to a database that has had none; processes take turns.

    Raises OperationalError when the database cannot be reached.
    """
    engine = backend.migration_engine(settings.sync_url)
    with engine.execution_options(**backend.READ_ONLY).connect() as connection:
        applied = revisions_in(connection)  # known without a wait for whoever writes
    if unknown := CodeRevisions.read().unknown(applied):
        logger.warning(
            "migrations of the database are not in this code",
            unknown=unknown,
            remedy=UNKNOWN_REMEDY,
        )
    if not applied:
        _upgrade(settings)


def _upgrade(settings: DatabaseSettings) -> None:
    # Only here: no other start needs Alembic, which takes its time to import.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["settings"] = settings
    command.upgrade(config, "head")
