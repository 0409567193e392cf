"""What lives as long as the service: database, mail, features, task runner."""

import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import structlog
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from app.db import Database, DatabaseSettings, Pool, Readiness, can_pass, current_database
from app.db.migrate import migrate
from app.email import (
    AlertSettings,
    EmailSettings,
    FailureAlerts,
    create_sender,
    current_sender,
    send_alert,
    send_email,
)
from app.feature import Feature
from app.logging import LOG_CONTEXT, configure_logging
from app.settings import ConfigurationError, Environment, Settings, read
from app.shutdown import Shutdown
from app.tasks import (
    TRACE_CONTEXT,
    LoggingObserver,
    Task,
    TaskObserver,
    TaskRunner,
    TaskSettings,
    TracingObserver,
    carry_all,
)

logger = structlog.get_logger(__name__)

_LAST_WRITES = 2.0
"""Seconds for the database at the end of a shutdown, after the tasks have had theirs."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def tasks_of(features: Sequence[Feature]) -> list[Task[..., Any]]:
    """Return every task of the service."""
    return [send_email, send_alert, *(task for feature in features for task in feature.tasks)]


def make_lifespan(settings: Settings, features: Sequence[Feature]) -> Lifespan:
    """Return the lifespan; every setting is read now, so that a bad one stops the start."""
    database_settings = read(DatabaseSettings)
    email_settings = read(EmailSettings)
    alert_settings = read(AlertSettings)
    task_settings = read(TaskSettings)
    tasks = tasks_of(features)
    try:
        task_settings.check_overrides({task.name for task in tasks})
        if settings.in_production:
            email_settings.check_delivery()
    except ValueError as error:
        raise ConfigurationError(f"invalid settings:\n  {error}") from None
    engines = [feature.engine for feature in features if feature.engine is not None]
    make_runner = engines[0] if engines else TaskRunner

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logging(settings.log_level, json=settings.in_production)
        if not settings.in_production:
            _migrate(database_settings)
        if not settings.api_keys:
            logger.warning("no API_KEYS: the service answers to this machine only")
        observers: list[TaskObserver] = [
            LoggingObserver(),
            TracingObserver(),
            FailureAlerts(alert_settings),
            *(observer for feature in features for observer in feature.observers),
        ]
        app.state.shutdown = Shutdown()
        # Left in the opposite order: the runner drains while everything its tasks use is there.
        async with AsyncExitStack() as stack:
            app.state.database = await stack.enter_async_context(Database(database_settings))
            app.state.readiness = await _ask(app.state.database)
            provided: dict[ContextVar[Any], Any] = {
                current_database: app.state.database,
                current_sender: create_sender(email_settings),
            }
            app.state.runner = make_runner(
                task_settings,
                observers,
                tasks=tasks,
                sessions=partial(app.state.database.session, Pool.TASK_STORE),
                carrier=carry_all(log=LOG_CONTEXT, trace=TRACE_CONTEXT),
                provided=provided,
            )
            for variable, value in provided.items():  # for what features run beside tasks
                variable.set(value)
            for feature in features:
                if feature.lifespan is not None:
                    await stack.enter_async_context(feature.lifespan(app))
            await stack.enter_async_context(app.state.runner)
            # A server that hangs would let nobody write down how the tasks have ended.
            stack.callback(app.state.database.close_in, task_settings.drain_timeout + _LAST_WRITES)
            stack.enter_context(app.state.shutdown.announce(settings.drain_delay))
            if settings.environment is not Environment.TEST:  # a test is not the last one
                # What is there now stays: the garbage collector need not look at it ever again.
                gc.collect()
                gc.freeze()
            yield

    return lifespan


def _migrate(settings: DatabaseSettings) -> None:
    """Bring a development database up to date."""
    try:
        migrate(settings)
    except OperationalError as error:
        if not can_pass(error.orig):
            raise  # a migration that is wrong
        # Not a reason to stop: it may come later than the service, which is not ready until then.
        logger.error("the database cannot be reached", error=str(error.orig))


async def _ask(database: Database) -> Readiness:
    """Let the log of the start say what the database lacks; whoever asks later is told anew."""
    await database.read_migrations()
    readiness = Readiness()
    await readiness.ask(database.check)
    return readiness
