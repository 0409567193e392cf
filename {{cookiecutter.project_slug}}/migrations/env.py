"""Runs the migrations, for the `alembic` command and for `app.db.migrate`."""

from typing import Any, Literal

from alembic import context

from app.db import Base, DatabaseSettings, UtcDateTime, backend
from app.feature import load_features
from app.settings import Settings, read
from app.tasks.durable import metadata as task_metadata

load_features(Settings.model_construct())  # so that autogenerate sees the tables of every feature


def render_item(kind: str, item: object, _: object) -> str | Literal[False]:
    """Write our column type as what it is in the database: a migration imports nothing of app."""
    is_ours = kind == "type" and isinstance(item, UtcDateTime)
    return "sa.DateTime(timezone=True)" if is_ours else False


def run_migrations(**options: Any) -> None:
    """Run, or print, all migrations in one transaction, one process after the other."""
    context.configure(
        target_metadata=[Base.metadata, task_metadata],
        render_item=render_item,
        render_as_batch=True,  # SQLite changes a table by copying it
        transactional_ddl=True,  # SQLite can, too; Alembic does not expect it to
        **options,
    )
    with context.begin_transaction():
        for statement in backend.MIGRATION_LOCK:
            context.execute(statement)
        context.run_migrations()


def run_online(settings: DatabaseSettings) -> None:
    """Connect and migrate."""
    with backend.migration_engine(settings.sync_url).connect() as connection:
        run_migrations(connection=connection)


def run_offline(settings: DatabaseSettings) -> None:
    """Print the statements, for somebody else to run."""
    run_migrations(url=settings.sync_url, literal_binds=True)


settings = context.config.attributes.get("settings") or read(DatabaseSettings)
run_offline(settings) if context.is_offline_mode() else run_online(settings)
