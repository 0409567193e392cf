"""Settings of the example, read from REPORTS_* environment variables."""

from functools import cache
from pathlib import Path

from pydantic import AnyHttpUrl, Field
from pydantic_settings import SettingsConfigDict

from app.settings import EnvSettings, ProjectPath, read


class ReportSettings(EnvSettings):
    """Where uploads are stored, and for how long reports are kept."""

    model_config = SettingsConfigDict(env_prefix="REPORTS_")

    upload_dir: ProjectPath = Path("data/uploads")
    retention: float = Field(default=90 * 86400.0, gt=0, le=100 * 365 * 86400.0)
    """Seconds that a report is kept after its end, at most a hundred years."""
    public_url: AnyHttpUrl = AnyHttpUrl("http://localhost:8000")
    """The address at which people reach the service; links in mails begin with it."""


@cache
def report_settings() -> ReportSettings:
    """Read the settings, only once, since it takes milliseconds. Raises ConfigurationError."""
    return read(ReportSettings)
