"""PostgreSQL, through psycopg."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field
from pydantic_settings import SettingsConfigDict
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.db import backend
from app.db.backend import NotReadyError, Pool, Sessions
from app.settings import Environment, EnvSettings, read

_NAME = "{{ cookiecutter.project_slug }}"
_MIGRATION_LOCK = 0x6D696772617465
"""Any number that nothing else in the database uses: "migrate"."""
_DISK_FULL = "53100"
"""The server's code; see https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_TOO_LARGE = "54"
"""The class of the codes for what exceeds a limit that the server is built with."""
_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""Seconds, and how often: a server that vanished without a word is missed after a minute."""


class PostgresqlSettings(EnvSettings):
    """How patient to be with the server, read from DATABASE_* variables."""

    model_config = SettingsConfigDict(env_prefix="DATABASE_")

    statement_timeout: float = Field(default=30.0, gt=0, le=86400)
    """Seconds after which the server breaks a statement off; the answer is 503."""


class _Stage(EnvSettings):
    environment: str = Environment.DEVELOPMENT


class Backend(backend.Backend):
    """A PostgreSQL server."""

    schemes = ("postgresql", "postgres")
    driver = sync_driver = "postgresql+psycopg"
    example = "postgresql+psycopg://user:password@host:5432/name"
    # One state for all statements, and a write is an error instead of a broken promise.
    read_only = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}  # noqa: RUF012
    # Held until the transaction of the migrations ends, and by one of them at a time.
    migration_lock = (f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})",)

    def default_url(self) -> str:
        """Return a database on this machine, but none for production."""
        if _Stage().environment == Environment.PRODUCTION:
            msg = f"production needs one, such as {self.example}"
            raise ValueError(msg)
        return f"postgresql+psycopg://postgres:postgres@localhost:5432/{_NAME}"

    def check(self, url: URL) -> None:
        """Refuse a URL that names no database: it would be the one called like the user."""
        if not url.database:
            msg = f"must look like {self.example}"
            raise ValueError(msg)
        read(PostgresqlSettings)  # a bad setting stops the start, too

    def engines(
        self, url: URL, sizes: Mapping[Pool, int], *, pool_timeout: float, lock_timeout: float
    ) -> dict[Pool, AsyncEngine]:
        """Make the engines of one process."""
        arguments = _connect_arguments(url, pool_timeout, lock_timeout)
        return {
            pool: create_async_engine(
                url,
                connect_args=arguments,
                pool_size=size,
                max_overflow=0,
                pool_timeout=pool_timeout,
                pool_pre_ping=True,  # a server that was restarted costs no request
                hide_parameters=True,  # they end up in logs and alerts
            )
            for pool, size in sizes.items()
        }

    async def check_writes(self, sessions: Sessions) -> None:
        """Write a message into the log of the server, which takes no lock on anything."""
        async with sessions() as session:
            if await session.scalar(text("SHOW transaction_read_only")) == "on":
                raise NotReadyError(
                    "the database is read-only",
                    "connect to the primary server, and see whether its disk is full",
                )
            await session.execute(text("SELECT pg_logical_emit_message(true, 'readiness', '')"))

    def is_disk_full(self, error: BaseException | None) -> bool:
        """Say whether an error of the driver means that there is no space left."""
        return _code(error) == _DISK_FULL

    def can_pass(self, error: BaseException | None) -> bool:
        """Say no to a value or a statement that is too large for the server."""
        return not _code(error).startswith(_TOO_LARGE)


def _code(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or ""


def _connect_arguments(url: URL, pool_timeout: float, lock_timeout: float) -> dict[str, Any]:
    """Return what libpq is told beside the URL, which has the last word."""
    settings = read(PostgresqlSettings)
    limits = {"statement_timeout": settings.statement_timeout, "lock_timeout": lock_timeout}
    options = [f"-c {name}={math.ceil(seconds * 1000)}" for name, seconds in limits.items()]
    defaults: dict[str, Any] = {"connect_timeout": math.ceil(pool_timeout), **_KEEPALIVE}
    arguments = {name: value for name, value in defaults.items() if name not in url.query}
    given = url.query.get("options", ())
    arguments["options"] = " ".join([*options, *([given] if isinstance(given, str) else given)])
    return arguments
