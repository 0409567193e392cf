"""Which migrations a database has had, and all of them for one that is empty.

Alembic knows them, too, but the service asks at every start, and to import Alembic costs more time
and memory than all else in `app/db`.
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
    "the code of another branch or of a later release has them: run `alembic downgrade` there;"
    " or, if their files are gone for good, `alembic stamp --purge head` here, and let"
    " `alembic revision --autogenerate` write what is to be undone"
)
_BEFORE = ("down_revision", "depends_on")
"""Where a migration names those that come before it, and so are no heads."""
_applied = table("alembic_version", column("version_num"))


def migrate(settings: DatabaseSettings) -> None:
    """Apply every migration to a database that has had none; processes take turns.

    Any later migration is for its author to read, and for `alembic upgrade head` to apply. Raises
    OperationalError when the database cannot be reached.
    """
    engine = backend.migration_engine(settings.sync_url)
    with engine.execution_options(**backend.READ_ONLY).connect() as connection:
        applied = revisions_in(connection)  # known without a wait for whoever writes
    if unknown := CodeRevisions.read().unknown(applied):
        text = "migrations of the database are not in this code"
        logger.warning(text, unknown=unknown, remedy=UNKNOWN_REMEDY)
    if not applied:
        _upgrade(settings)


def _upgrade(settings: DatabaseSettings) -> None:
    # Only here: no other start needs Alembic.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["settings"] = settings
    command.upgrade(config, "head")


def revisions_in(connection: Connection) -> set[str]:
    """Return what Alembic has written into the database; nothing before the first migration."""
    if not inspect(connection).has_table(_applied.name):
        return set()
    return set(connection.execute(select(_applied.c.version_num)).scalars())


@dataclass(frozen=True)
class CodeRevisions:
    """The revisions of this code, and those of them that no other one follows."""

    all: frozenset[str]
    heads: frozenset[str]

    @classmethod
    def read(cls) -> Self:
        """Read them from the files of the migrations."""
        names = [_names_in(path) for path in (MIGRATIONS / "versions").glob("*.py")]
        revisions = frozenset(found["revision"] for found in names if "revision" in found)
        followed: set[str] = set()
        for before in (found.get(key) for found in names for key in _BEFORE):
            followed.update([before] if isinstance(before, str) else before or ())
        return cls(revisions, revisions - followed)

    def unknown(self, revisions: set[str]) -> list[str]:
        """Return those that this code does not have."""
        return sorted(revisions - self.all)

    def are_in(self, revisions: set[str]) -> bool:
        """Say whether a database of these revisions has had every migration of this code.

        One that this code does not know comes from a later release, which was rolled back: it has
        all of this one's.
        """
        return revisions >= self.heads or bool(self.unknown(revisions))


def _names_in(path: Path) -> dict[str, Any]:
    """Return what a migration calls itself, and those that it needs."""
    found: dict[str, Any] = {}
    for node in ast.parse(path.read_bytes()).body:
        match node:
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.Assign(targets=[ast.Name(id=name)], value=value)
            ) if name in {"revision", *_BEFORE}:
                found[name] = ast.literal_eval(value)
    return found
