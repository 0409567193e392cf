"""Opens and closes what lives as long as the service: database, mail, features, task runner."""

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import structlog
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from app.db import Database, DatabaseSettings, Pool, can_pass, current_database
from app.db.migrate import migrate
from app.db.readiness import Readiness
from app.feature import Feature
from app.history import History
from app.logs import LOG_CONTEXT
from app.mail import (
    AlertSettings,
    EmailSettings,
    FailureAlerts,
    create_sender,
    current_sender,
    send_alert,
    send_email,
)
from app.settings import ConfigurationError, Settings, read, server_processes
from app.tasks import LoggingObserver, Task, TaskObserver, TaskRunner, TaskSettings, TracingObserver
from app.tasks.context import propagate_all
from app.tasks.durable.steps import step_sessions
from app.tasks.trace_observer import TRACE_PROPAGATOR

logger = structlog.get_logger(__name__)

_THREADS = 64
"""Size of asyncio's thread pool, for files and DNS lookups. The default on two cores is six: six
mails that wait for the DNS would then block uploads, readiness and new connections."""
_LAST_WRITES = 2.0
"""Seconds after the drain in which the ends of tasks can still be recorded."""


def tasks_of(features: Sequence[Feature]) -> list[Task[..., Any]]:
    """Return every task of the service."""
    return [send_email, send_alert, *(task for feature in features for task in feature.tasks)]


class Shutdown:
    """Delays a shutdown after SIGTERM, while `announced` is true and readiness answers 503."""

    def __init__(self) -> None:
        self.announced = False

    @contextmanager
    def announce(self, delay: float) -> Iterator[None]:
        """Delay the server's shutdown after SIGTERM by `delay` seconds.

        The server closes its socket as soon as it gets the signal. Without the delay, a probe would
        see a refused connection instead of a readiness of 503, and requests that are still being
        routed here would be lost. Ctrl-C ends the delay, but not a second SIGTERM: systemd sends
        one to each process of a service, and `uv run` passes on its own.
        """
        loop = asyncio.get_running_loop()
        server_handler = signal.getsignal(signal.SIGTERM)

        def stop() -> None:
            signal.signal(signal.SIGTERM, server_handler)
            signal.raise_signal(signal.SIGTERM)

        def handle() -> None:
            if self.announced:
                return
            self.announced = True
            if delay == 0:
                stop()
                return
            loop.call_soon_threadsafe(loop.call_later, delay, stop)
            loop.call_soon_threadsafe(logger.info, "shutdown announced")

        with _handling(signal.SIGTERM, handle):
            yield


@contextmanager
def _handling(number: int, handle: Callable[[], object]) -> Iterator[None]:
    """Call `handle` for a signal during the block, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, lambda *_: handle())
    try:
        yield
    finally:
        signal.signal(number, before)


class Lifespan:
    """Opens what lives as long as the service, and closes it in reverse order.

    The constructor reads the settings, so that an invalid one stops the start: it raises
    ConfigurationError.
    """

    def __init__(self, settings: Settings, features: Sequence[Feature]) -> None:
        self._settings = settings
        self._features = features
        self._database_settings = read(DatabaseSettings)
        self._email_settings = read(EmailSettings)
        self._alert_settings = read(AlertSettings)
        self._task_settings = read(TaskSettings)
        tasks = tasks_of(features)
        try:
            self._task_settings.check_overrides({task.name for task in tasks})
            self._task_settings.claimed({task.name for task in tasks if task.durable})
        except ValueError as error:
            raise ConfigurationError(str(error)) from None

    @asynccontextmanager
    async def run(self, app: FastAPI) -> AsyncIterator[None]:
        """Open everything and put it on `app.state`; close it after the block."""
        self._prepare()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        app.state.shutdown = Shutdown()
        # The runner is entered last, so that it drains while all that its tasks use is still open.
        async with AsyncExitStack() as stack:
            app.state.database = await stack.enter_async_context(Database(self._database_settings))
            app.state.readiness = Readiness()
            await app.state.readiness.ask(app.state.database.check)  # logs a problem at start
            app.state.history = History()
            app.state.runner = self._make_runner(app.state.database, app.state.history)
            for feature in self._features:
                if feature.lifespan is not None:
                    await stack.enter_async_context(feature.lifespan(app))
            await stack.enter_async_context(_running(app.state.runner, app.state.database))
            # Writing the ends of tasks to a database that hangs would block the shutdown for ever.
            last_writes = self._task_settings.drain_timeout + _LAST_WRITES
            stack.callback(app.state.database.close_in, last_writes)
            stack.enter_context(
                app.state.shutdown.announce(self._settings.effective_shutdown_delay)
            )
            yield

    def _prepare(self) -> None:
        if not self._settings.in_production:
            _migrate(self._database_settings)
        if all(is_public for feature in self._features for _, is_public in feature.routes):
            return  # a worker, which serves only health routes
        if not self._settings.api_keys:
            logger.warning("no API_KEYS: the service answers to this machine only")
        if (processes := server_processes()) > 1:
            text = "each server process has its own task queue and its own limits"
            logger.warning(text, processes=processes)

    def _make_runner(self, database: Database, history: History) -> Any:
        provided: dict[ContextVar[Any], Any] = {
            current_database: database,
            current_sender: create_sender(self._email_settings),
            step_sessions: partial(database.session, Pool.TASKS),
        }
        for variable, value in provided.items():  # for code of features outside tasks
            variable.set(value)
        engines = [feature.engine for feature in self._features if feature.engine is not None]
        engine = engines[0] if engines else partial(TaskRunner, wake_ups=database.wake_ups)
        return engine(
            self._task_settings,
            [history, *self._observers()],
            tasks=tasks_of(self._features),
            sessions=partial(database.session, Pool.TASK_STORE),
            propagator=propagate_all(LOG_CONTEXT, TRACE_PROPAGATOR),
            provided=provided,
        )

    def _observers(self) -> list[TaskObserver]:
        level = logging.DEBUG if self._settings.in_production else logging.INFO
        core = [LoggingObserver(level), TracingObserver(), FailureAlerts(self._alert_settings)]
        return [*core, *(observer for feature in self._features for observer in feature.observers)]


@asynccontextmanager
async def _running(runner: TaskRunner, database: Database) -> AsyncIterator[None]:
    """Run the runner during the block; Ctrl-C ends its drain, which the server would ignore."""
    loop = asyncio.get_running_loop()

    def end_drain() -> None:
        runner.end_drain()
        database.close_in(_LAST_WRITES)

    with ExitStack() as until_drained:
        async with runner:
            yield
            on_interrupt = _handling(signal.SIGINT, lambda: loop.call_soon_threadsafe(end_drain))
            until_drained.enter_context(on_interrupt)


def _migrate(settings: DatabaseSettings) -> None:
    """Create the tables of an empty development database."""
    try:
        migrate(settings)
    except OperationalError as error:
        if not can_pass(error.orig):
            raise  # a faulty migration
        # No reason to stop: the database may start later; the service is not ready until then.
        logger.error("the database cannot be reached", error=str(error.orig))
