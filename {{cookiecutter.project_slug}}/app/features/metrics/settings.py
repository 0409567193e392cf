"""Settings of the metrics, read from METRICS_* environment variables."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.settings import EnvSettings


class MetricsSettings(EnvSettings):
    """Where metrics are served besides `/metrics`."""

    model_config = SettingsConfigDict(env_prefix="METRICS_")

    port: int | None = Field(default=None, ge=1, le=65535)
    """First port to try; each process of the service takes the first free one from here on."""
    host: str = "127.0.0.1"
    """Address to listen on; there is no API key on this port."""
