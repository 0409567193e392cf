"""Settings of the example, read from NOTIFICATIONS_* environment variables."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class NotificationSettings(BaseSettings):
    """Where the log file is."""

    model_config = SettingsConfigDict(
        env_prefix="NOTIFICATIONS_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    log_file: Path = Path("data/notifications.log")
