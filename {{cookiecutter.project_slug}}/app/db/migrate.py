"""Brings a development database up to date; production runs `alembic upgrade head` itself."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from .database import DatabaseSettings

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_REVISION = re.compile(r"""^(revision|down_revision)\b.*= ["'](\w+)["']""", re.MULTILINE)


def is_current(settings: DatabaseSettings) -> bool:
    """Say whether the database has had every migration, and no other."""
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
    settings.make_folder()
    with closing(sqlite3.connect(settings.sync_url.database or "")) as connection:
        try:
            return {row[0] for row in connection.execute("SELECT version_num FROM alembic_version")}
        except sqlite3.OperationalError:  # there is no such table yet
            return set()
