"""Settings of the example, read from NOTIFICATIONS_* environment variables."""

from pathlib import Path

from pydantic_settings import SettingsConfigDict

from app.settings import EnvSettings, ProjectPath


class NotificationSettings(EnvSettings):
    """Where the log file is."""

    model_config = SettingsConfigDict(env_prefix="NOTIFICATIONS_")

    log_file: ProjectPath = Path("data/notifications.log")
