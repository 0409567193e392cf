"""Brings a development database up to date; production runs `alembic upgrade head` itself."""

import re
from pathlib import Path

from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

from .settings import DatabaseSettings

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_REVISION = re.compile(r"""^(revision|down_revision)\b.*= ["'](\w+)["']""", re.MULTILINE)


def is_current(settings: DatabaseSettings) -> bool:
    """Say whether the database has had every migration, and no other.

    Raises OperationalError when the database cannot be reached.
    """
    return _heads() == _versions(settings)


def migrate(settings: DatabaseSettings) -> None:
    """Apply every migration that the database does not have yet."""
    if is_current(settings):
        return
    # A tenth of a second and ten megabytes, which no other start has to spend.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["settings"] = settings
    command.upgrade(config, "head")


def _heads() -> set[str]:
    """Return the revisions that no other builds on, as Alembic would."""
    found: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for path in MIGRATIONS.glob("versions/*.py"):
        for kind, revision in _REVISION.findall(path.read_text(encoding="utf-8")):
            found[kind].add(revision)
    return found["revision"] - found["down_revision"]


def _versions(settings: DatabaseSettings) -> set[str]:
    """Return what Alembic has written into the database."""
    settings.prepare()
    engine = create_engine(settings.sync_url, poolclass=NullPool, hide_parameters=True)
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return set()
        return set(connection.scalars(text("SELECT version_num FROM alembic_version")))
