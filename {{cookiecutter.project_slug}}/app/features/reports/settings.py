"""Settings of the example, read from REPORTS_* environment variables."""

from pathlib import Path

from pydantic import AnyHttpUrl, ByteSize, Field
from pydantic_settings import SettingsConfigDict

from app.settings import EnvSettings


class ReportSettings(EnvSettings):
    """Where uploads wait, and what is too much. The size of a file is `MAX_UPLOAD_BYTES`."""

    model_config = SettingsConfigDict(env_prefix="REPORTS_")

    upload_dir: Path = Path("data/uploads")
    """Needs room for the files that wait, and for those in work four times as much."""
    max_stored_bytes: ByteSize = Field(default=ByteSize(2 * 1024**3), ge=1)
    """Of all files that wait together; `2GiB` is understood too. More are answered with 503."""
    max_columns: int = Field(default=1000, ge=1)
    retention: float = Field(default=90 * 86400.0, gt=0, le=100 * 365 * 86400.0)
    """Seconds that a report is kept after its end, at most a hundred years."""
    public_url: AnyHttpUrl = AnyHttpUrl("http://localhost:8000")
    """Where people find the service: links in mails begin with it."""
