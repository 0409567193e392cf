"""Settings of the database."""

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict
from sqlalchemy.engine import URL

from app.settings import EnvSettings

from .backend import Backend, backend_of, check_url, default_url, with_driver


class DatabaseSettings(EnvSettings):
    """Where the database is and how patient to be, read from DATABASE_* variables."""

    model_config = SettingsConfigDict(env_prefix="DATABASE_")

    url: str = Field(default="", validate_default=True, repr=False)  # it may hold a password
    pool_size: int = Field(default=10, ge=1)
    """Connections for requests."""
    task_pool_size: int = Field(default=10, ge=1)
    """Connections for tasks; apart, so that neither side can starve the other."""
    pool_timeout: float = Field(default=5.0, gt=0)
    """Seconds to wait for a connection before the answer is 503."""
    lock_timeout: float = Field(default=5.0, gt=0)
    """Seconds to wait for a lock that another transaction has before the answer is 503."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return check_url(url or default_url())

    @property
    def backend(self) -> Backend:
        """The kind of database that it is."""
        return backend_of(self.url)

    @property
    def async_url(self) -> URL:
        """The URL with the driver that the service uses."""
        return with_driver(self.url, self.backend.driver)

    @property
    def sync_url(self) -> URL:
        """The URL with the driver that migrations use."""
        return with_driver(self.url, self.backend.sync_driver)

    def prepare(self) -> None:
        """Make what must be there before the first connection."""
        self.backend.prepare(self.sync_url)
