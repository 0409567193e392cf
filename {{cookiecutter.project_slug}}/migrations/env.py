"""Runs the migrations, for the `alembic` command and for `app.db.migrate`."""

import subprocess
import sys
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, Literal

import structlog
from alembic import context
from alembic.runtime.migration import MigrationInfo
from alembic.util import CommandError

from app import features
from app.db import Base, DatabaseSettings, UtcDateTime, backend
from app.db.migrate import UNKNOWN_REMEDY, CodeRevisions, revisions_in
from app.settings import read
from app.tasks.durable import metadata as task_metadata

logger = structlog.get_logger("migrations")

# So that autogenerate sees the tables of every feature, even those that no code uses yet.
for module in walk_packages(features.__path__, f"{features.__name__}."):
    if module.ispkg or module.name.endswith(".models"):
        import_module(module.name)


def render_item(kind: str, item: object, _: object) -> str | Literal[False]:
    """Write our column type as a type of SQLAlchemy, so that migrations import nothing of app."""
    is_ours = kind == "type" and isinstance(item, UtcDateTime)
    return "sa.DateTime(timezone=True)" if is_ours else False


def run_migrations(**options: Any) -> None:
    """Run or print all migrations in one transaction; processes take turns."""
    context.configure(
        target_metadata=[Base.metadata, task_metadata],
        render_item=render_item,
        render_as_batch=True,  # SQLite changes a table by copying it
        transactional_ddl=True,  # SQLite supports it, but Alembic assumes that it does not
        **options,
    )
    with context.begin_transaction():
        for statement in backend.MIGRATION_LOCK:
            context.execute(statement)
        context.run_migrations()


def run_online(settings: DatabaseSettings) -> None:
    """Connect and migrate; log the migrations after they are committed."""
    steps: list[MigrationInfo] = []
    with backend.migration_engine(settings.sync_url).connect() as connection:
        applied = revisions_in(connection)
        connection.rollback()  # so that another process can write
        if not applied and getattr(context.config.cmd_opts, "autogenerate", False):
            upgrade_first()  # a fresh clone: there are no tables yet to compare the models with
        try:
            run_migrations(
                connection=connection, on_version_apply=lambda *, step, **_: steps.append(step)
            )
        except CommandError as error:
            if not (unknown := CodeRevisions.read().unknown(applied)):
                raise
            names = ", ".join(unknown)
            msg = f"the database has unknown migrations ({names}): {UNKNOWN_REMEDY}"
            raise CommandError(msg) from error
    for step in steps:
        action = "upgraded" if step.is_upgrade else "downgraded"
        logger.info("stamped" if step.is_stamp else action, revisions=step.up_revision_ids)


def upgrade_first() -> None:
    """Apply every migration in another process: Alembic runs one command at a time."""
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(command, check=True)  # noqa: S603 - this interpreter and fixed words


def run_offline(settings: DatabaseSettings) -> None:
    """Print the statements instead of running them."""
    run_migrations(url=settings.sync_url, literal_binds=True)


settings = context.config.attributes.get("settings") or read(DatabaseSettings)
run_offline(settings) if context.is_offline_mode() else run_online(settings)
