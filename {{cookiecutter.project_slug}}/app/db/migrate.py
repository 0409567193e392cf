"""Reads which migrations a database has, and applies every migration to an empty one.

The service reads them at every start without Alembic, whose import takes more time and memory than
everything else in `app/db`.
"""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import structlog
from sqlalchemy import Connection, column, inspect, select, table

from . import backend
from .settings import DatabaseSettings

logger = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
UNKNOWN_REMEDY = (
    "they belong to another branch or a later release: run `alembic downgrade` with its code;"
    " or, if their files are lost, run `alembic stamp --purge head` here, and let"
    " `alembic revision --autogenerate` write a migration that undoes them"
)
_PREDECESSORS = ("down_revision", "depends_on")
"""Variables in which a migration names those before it."""
_applied = table("alembic_version", column("version_num"))


def migrate(settings: DatabaseSettings) -> None:
    """Apply every migration to a database that has none; processes take turns.

    Later migrations should be read first, and are only applied by `alembic upgrade head`. Raises
    OperationalError when the database cannot be reached.
    """
    engine = backend.migration_engine(settings.sync_url)
    with engine.execution_options(**backend.READ_ONLY).connect() as connection:
        applied = revisions_in(connection)  # a reader waits for no writer
    if unknown := CodeRevisions.read().unknown(applied):
        text = "the database has migrations that this code does not have"
        logger.warning(text, unknown=unknown, remedy=UNKNOWN_REMEDY)
    if not applied:
        _upgrade(settings)


def _upgrade(settings: DatabaseSettings) -> None:
    # Imported here, because only the start with an empty database needs Alembic.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["settings"] = settings
    command.upgrade(config, "head")


def revisions_in(connection: Connection) -> set[str]:
    """Return the revisions that Alembic has recorded; none before the first migration."""
    if not inspect(connection).has_table(_applied.name):
        return set()
    return set(connection.execute(select(_applied.c.version_num)).scalars())


@dataclass(frozen=True)
class CodeRevisions:
    """The revisions of this code, and its heads, which no other revision follows."""

    all: frozenset[str]
    heads: frozenset[str]

    @classmethod
    def read(cls) -> Self:
        """Read them from the files of the migrations."""
        migrations = [_read_migration(path) for path in (MIGRATIONS / "versions").glob("*.py")]
        revisions = frozenset(each["revision"] for each in migrations if "revision" in each)
        followed: set[str] = set()
        for value in (each.get(name) for each in migrations for name in _PREDECESSORS):
            followed.update([value] if isinstance(value, str) else value or ())
        return cls(revisions, revisions - followed)

    def unknown(self, revisions: set[str]) -> list[str]:
        """Return the revisions that this code does not have."""
        return sorted(revisions - self.all)

    def are_in(self, revisions: set[str]) -> bool:
        """Return whether a database at these revisions has every migration of this code.

        An unknown revision means yes: it comes from a later release that was rolled back, and that
        had all migrations of this one.
        """
        return revisions >= self.heads or bool(self.unknown(revisions))


def _read_migration(path: Path) -> dict[str, Any]:
    """Return the variables with the revision of a migration and of those before it."""
    variables: dict[str, Any] = {}
    for node in ast.parse(path.read_bytes()).body:
        match node:
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.Assign(targets=[ast.Name(id=name)], value=value)
            ) if name in {"revision", *_PREDECESSORS}:
                variables[name] = ast.literal_eval(value)
    return variables
