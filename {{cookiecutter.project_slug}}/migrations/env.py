"""Runs the migrations, for the `alembic` command and for `app.db.migrate`."""

from typing import Literal

from alembic import context
from sqlalchemy import create_engine, pool

from app.db import Base, DatabaseSettings, UtcDateTime
from app.feature import load_features
from app.settings import Settings, read
from app.tasks.durable import metadata as task_metadata

load_features(Settings.model_construct())  # so that autogenerate sees the tables of every feature


def render_item(kind: str, item: object, _: object) -> str | Literal[False]:
    """Write our column type as what it is in the database: a migration imports nothing of app."""
    is_ours = kind == "type" and isinstance(item, UtcDateTime)
    return "sa.DateTime(timezone=True)" if is_ours else False


def run_migrations() -> None:
    """Connect and migrate, each migration in a transaction."""
    settings = context.config.attributes.get("settings") or read(DatabaseSettings)
    settings.make_folder()
    engine = create_engine(settings.sync_url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=[Base.metadata, task_metadata],
            render_item=render_item,
            render_as_batch=True,  # SQLite changes a table by copying it
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run_migrations()
