"""What a kind of database must offer, and how the one of a URL is found."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from enum import Enum
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar

from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from . import backends


class Pool(Enum):
    """Whose connections they are; apart, so that no side can starve another."""

    REQUESTS = "requests"
    TASKS = "tasks"
    TASK_STORE = "task_store"
    """The bookkeeping of durable tasks: a lease must be renewed while all tasks are busy."""


class NotReadyError(Exception):
    """Requests would fail. `cause` may be told to anybody, `remedy` is for the log."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}: {remedy}")
        self.cause = cause
        self.remedy = remedy


Sessions = Callable[..., AbstractAsyncContextManager[AsyncSession]]
"""`Database.session`."""


class Backend(ABC):
    """A kind of database. Each is one file in `backends`, with one subclass called `Backend`."""

    schemes: ClassVar[tuple[str, ...]]
    """What its URLs begin with, up to a `+`."""
    driver: ClassVar[str]
    """What SQLAlchemy calls the driver of the service."""
    sync_driver: ClassVar[str]
    """What SQLAlchemy calls the driver of the migrations."""
    example: ClassVar[str]
    """A URL for messages."""
    read_only: ClassVar[Mapping[str, Any]]
    """Execution options of a connection that only reads."""
    migration_lock: ClassVar[tuple[str, ...]] = ()
    """Statements at the start of a migration, so that several at once take turns."""

    @abstractmethod
    def default_url(self) -> str:
        """Return where a development database is; ValueError where there must be no default."""

    @abstractmethod
    def check(self, url: URL) -> None:
        """Raise ValueError if a URL cannot work."""

    def prepare(self, url: URL) -> None:  # noqa: B027 - most have nothing to do
        """Make what must be there before the first connection."""

    def migration_engine(self, url: URL) -> Engine:
        """Make the engine of the migrations, with `sync_driver`."""
        return create_engine(url, poolclass=NullPool, hide_parameters=True)

    @abstractmethod
    def engines(
        self, url: URL, sizes: Mapping[Pool, int], *, pool_timeout: float, lock_timeout: float
    ) -> dict[Pool, AsyncEngine]:
        """Make the engines of one process.

        `pool_timeout` is how long to wait for a connection, `lock_timeout` how long for a lock
        that another transaction has, both in seconds.
        """

    @abstractmethod
    async def check_writes(self, sessions: Sessions) -> None:
        """Write, as requests do; NotReadyError, or what the session raises, if that fails.

        It changes nothing, and does not wait long for a lock.
        """

    @abstractmethod
    def is_disk_full(self, error: BaseException | None) -> bool:
        """Say whether an error of the driver means that there is no space left."""

    @abstractmethod
    def can_pass(self, error: BaseException | None) -> bool:
        """Say whether waiting may cure what the driver reports as an operational error."""


@cache
def find_backends() -> dict[str, Backend]:
    """Return the kinds of databases that this service knows, by the name of their file."""
    names = sorted(module.name for module in iter_modules(backends.__path__))
    return {name: import_module(f"{backends.__name__}.{name}").Backend() for name in names}


def backend_of(url: str) -> Backend:
    """Return the kind of the database at `url`; ValueError if it is none that can be used."""
    known = find_backends().values()
    scheme = url.partition(":")[0].partition("+")[0]
    for backend in known:
        if scheme in backend.schemes:
            return backend
    examples = " or ".join(backend.example for backend in known)
    msg = f"must look like {examples}; another kind of database needs its file in app/db/backends"
    raise ValueError(msg)


def default_url() -> str:
    """Return where the development database is. Of several kinds, the last by name decides."""
    return list(find_backends().values())[-1].default_url()


def check_url(url: str) -> str:
    """Return `url` if there is a way to use it, and raise ValueError that says what is missing."""
    backend = backend_of(url)
    try:
        parsed = with_driver(url, backend.driver)
    except (ArgumentError, ValueError):
        msg = f"must look like {backend.example}"
        raise ValueError(msg) from None
    try:
        parsed.get_dialect().import_dbapi()
    except ImportError as error:
        msg = f"the driver of {backend.driver} is not installed: {error}"
        raise ValueError(msg) from None
    backend.check(parsed)
    return url


def with_driver(url: str, driver: str) -> URL:
    """Return `url` with the driver that it is used with."""
    return make_url(url).set(drivername=driver)
