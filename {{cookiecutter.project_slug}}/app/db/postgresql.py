"""PostgreSQL, through psycopg."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any
from weakref import WeakSet

from pydantic import BaseModel, Field
from sqlalchemy import Engine, NullPool, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.settings import in_production
from app.tasks.durable.dialect import WAKE_CHANNEL

from .readiness import NotReadyError

SCHEMES = ("postgresql", "postgres")
DRIVER = SYNC_DRIVER = "postgresql+psycopg"
EXAMPLE = "postgresql+psycopg://user:password@host:5432/name"
READ_ONLY: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Execution options: all statements see one snapshot, and a write is an error."""
MIGRATION_LOCK = (f"SELECT pg_advisory_xact_lock({0x6D696772617465})",)  # "migrate"
"""Statements before the migrations: one process holds the lock until its transaction ends."""
Sessions = Callable[[], AbstractAsyncContextManager[AsyncSession]]
_TOO_LARGE = "54"
"""Class of the error codes for what exceeds a limit built into the server; see
https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_KEEPALIVE = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",  # for unacknowledged data; the default is many minutes
}
"""Seconds, seconds, a count, milliseconds: a peer that vanished is noticed after a minute."""


class ConnectionSettings(BaseModel):
    """Settings of the connections. Timeouts are in seconds; a request over one gets a 503."""

    pool_timeout: float = Field(default=5.0, gt=0)
    """Longest wait for a free connection."""
    lock_timeout: float = Field(default=5.0, gt=0)
    """Longest wait for a lock that another transaction holds."""
    statement_timeout: float = Field(default=30.0, gt=0, le=86400)
    """Longest run of a statement, which the server then cancels."""
    prepared_statements: bool = True
    """Whether statements are prepared, which saves the server a third of the work for a durable
    task. Turn it off behind a transaction pooler that does not support prepared statements."""


def default_url() -> str:
    """Return the URL of a database on this machine; raise ValueError in production."""
    if in_production():
        msg = f"production needs one, such as {EXAMPLE}"
        raise ValueError(msg)
    return "postgresql+psycopg://postgres:postgres@localhost:5432/{{ cookiecutter.project_slug }}"


def is_usable(url: URL) -> bool:
    """Return whether a URL names a database; otherwise libpq would use the name of the user."""
    return url.get_backend_name() in SCHEMES and bool(url.database)


def migration_engine(url: URL) -> Engine:
    """Create the engine for migrations."""
    return create_engine(url, poolclass=NullPool, hide_parameters=True)


def can_pass(error: BaseException | None) -> bool:
    """Return whether waiting can cure an error, unlike a value or statement that is too large."""
    return not (getattr(error, "sqlstate", None) or "").startswith(_TOO_LARGE)


class Backend:
    """Creates the engines of one process, and checks whether writes work."""

    def __init__(self, url: URL, settings: ConnectionSettings) -> None:
        self._url = _with_limits(url, settings)
        self._pool_timeout = settings.pool_timeout
        self._arguments = {} if settings.prepared_statements else {"prepare_threshold": None}
        self._connections: WeakSet[Any] = WeakSet()
        self._is_closed = False

    def make_engines(self, size: int) -> tuple[AsyncEngine, AsyncEngine]:
        """Return an engine for writers and one for readers; both share `size` connections."""
        engine = create_async_engine(
            self._url,
            pool_size=size,
            max_overflow=0,
            pool_timeout=self._pool_timeout,
            connect_args=self._arguments,
            isolation_level="READ COMMITTED",  # claims rely on it, whatever the server's default
            pool_pre_ping=True,  # no request fails because the server was restarted
            hide_parameters=True,  # they would end up in logs and alerts
        )
        event.listen(engine.sync_engine, "do_connect", self._refuse_if_closed)
        event.listen(engine.sync_engine, "connect", self._remember)
        return engine, engine.execution_options(**READ_ONLY)

    def wake_ups(self, engine: AsyncEngine) -> Callable[[], AsyncIterator[None]]:
        """Return a function whose iterator yields when another process commits durable tasks."""
        return partial(_listen, engine, self._connections)

    async def check_writes(self, sessions: Sessions) -> None:
        """Write a message into the write-ahead log of the server, which needs no lock."""
        async with sessions() as session:
            if await session.scalar(text("SHOW transaction_read_only")) == "on":
                msg = "the database is read-only: its disk may be full, or it is not the primary"
                raise NotReadyError(msg)
            await session.execute(text("SELECT pg_logical_emit_message(true, 'readiness', '')"))

    def close_in(self, seconds: float) -> None:
        """Make every statement fail with OperationalError after `seconds`, also running ones."""
        asyncio.get_running_loop().call_later(seconds, self._close)

    def _close(self) -> None:
        # Cancelling the asyncio tasks would not do: the driver may wait ten seconds for the server.
        self._is_closed = True
        for connection in self._connections:
            connection.pgconn.finish()

    def _remember(self, _: object, record: ConnectionPoolEntry) -> None:
        self._connections.add(record.driver_connection)

    def _refuse_if_closed(self, *_: object) -> None:
        if self._is_closed:
            raise OperationalError(None, None, ConnectionError("the service is ending"))


async def _listen(engine: AsyncEngine, own: Collection[Any]) -> AsyncIterator[None]:
    """Yield once it listens, and then whenever another process has committed durable tasks.

    Notifications from `own`, the connections of this process, are ignored. Raises the errors of
    SQLAlchemy and of the driver when the connection fails.
    """
    async with engine.connect() as connection:
        await connection.exec_driver_sql(f"LISTEN {WAKE_CHANNEL}")
        await connection.commit()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        try:
            yield
            async for notification in driver.notifies():
                own_pids = {each.info.backend_pid for each in own if not each.closed}
                if notification.pid not in own_pids:
                    yield
        finally:
            await connection.invalidate()  # or the pool would reuse a connection that still listens


def _with_limits(url: URL, settings: ConnectionSettings) -> URL:
    """Return the URL with timeouts for libpq and the server; options of the URL itself win."""
    limits = settings.model_dump(include={"statement_timeout", "lock_timeout"})
    options = [f"-c {name}={math.ceil(seconds * 1000)}" for name, seconds in limits.items()]
    # The same for the server, which by default keeps the locks of a vanished process for two hours.
    options += [f"-c tcp_{name.removeprefix('tcp_')}={n}" for name, n in _KEEPALIVE.items()]
    options += url.normalized_query.get("options", ())
    defaults = {"connect_timeout": str(math.ceil(settings.pool_timeout)), **_KEEPALIVE}
    return url.set(query={**defaults, **url.query, "options": " ".join(options)})
