"""Settings of the database."""

from contextlib import suppress

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.settings import EnvSettings

from . import backend


class DatabaseSettings(backend.ConnectionSettings, EnvSettings):
    """The database's URL, pools and timeouts, read from DATABASE_* variables."""

    model_config = SettingsConfigDict(env_prefix="DATABASE_")

    url: str = Field(default="", validate_default=True, repr=False)  # it may hold a password
    pool_size: int = Field(default=10, ge=1)
    """Connections for requests."""
    task_pool_size: int = Field(default=10, ge=1)
    """Connections for tasks; a pool of its own, so that neither side can starve the other."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        url = url or backend.default_url()
        with suppress(ArgumentError, ValueError):
            if backend.is_usable(make_url(url)):
                return url
        msg = f"must look like {backend.EXAMPLE}"
        raise ValueError(msg)

    @property
    def async_url(self) -> URL:
        """The URL with the driver that the service uses."""
        return make_url(self.url).set(drivername=backend.DRIVER)

    @property
    def sync_url(self) -> URL:
        """The URL with the driver that migrations use."""
        return make_url(self.url).set(drivername=backend.SYNC_DRIVER)
