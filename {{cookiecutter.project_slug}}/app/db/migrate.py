"""Brings a development database up to date; production runs `alembic upgrade head` itself."""

from pathlib import Path

from .database import DatabaseSettings

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def migrate(settings: DatabaseSettings) -> None:
    """Apply every migration that the database does not have yet."""
    # Alembic takes a tenth of a second to import, which production does not need to spend.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["settings"] = settings
    command.upgrade(config, "head")
