"""Fixtures: brokers, a database, a journal, and the small application on each engine."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from app.tasks import TaskRunner, TaskSettings
from app.tasks.celery import CelerySettings
from tests.databases.server import DatabaseServer, run

from .application import open_runner
from .brokers import REAL, Valkey
from .journal import ADDRESS, Journal
from .workers import WorkerProcess, worker_thread

SHIPPED = "CREATE TABLE shipped (task_id VARCHAR(32) UNIQUE, n INTEGER)"


@pytest.fixture(scope="session")
def journal_of_all() -> Iterator[Journal]:
    with Journal() as journal:
        os.environ[ADDRESS] = journal.variables[ADDRESS]
        yield journal
        del os.environ[ADDRESS]


@pytest.fixture
def journal(journal_of_all: Journal) -> Journal:
    """Give a journal with nothing in it."""
    journal_of_all.clear()
    return journal_of_all


@pytest.fixture(scope="session")
def shared_database(database_server: DatabaseServer) -> Iterator[str]:
    """Give the database of the workers that many tests share."""
    with database_server.database(migrated=True) as url:
        run(url, SHIPPED)
        yield url


@pytest.fixture
def shipping(database_url: str) -> str:
    """Give a database of this test's own, with a table for effects."""
    run(database_url, SHIPPED)
    return database_url


@pytest.fixture(scope="session")
def valkey_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    valkey = Valkey(tmp_path_factory.mktemp("valkey"))
    yield valkey
    valkey.close()


@pytest.fixture
def valkey(valkey_of_all: Valkey) -> Valkey:
    """Give a Valkey with nothing in it."""
    valkey_of_all.clear()
    return valkey_of_all


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Give the Valkey of the worker that many tests share."""
    valkey = Valkey(tmp_path_factory.mktemp("shared-valkey"))
    yield valkey
    valkey.close()


@pytest.fixture(scope="session")
def start_worker(
    shared_valkey: Valkey,
    shared_database: str,
    journal_of_all: Journal,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], CelerySettings]]:
    """Start worker processes for many tests; give the settings that lead to them."""
    with ExitStack() as workers:

        def start(broker: str) -> CelerySettings:
            settings = {"broker_url": broker, "limits_url": shared_valkey.url}
            worker = WorkerProcess(
                tmp_path_factory.mktemp("worker"),
                journal_of_all,
                CELERY_BROKER_URL=broker,
                CELERY_LIMITS_URL=shared_valkey.url,
                DATABASE_URL=shared_database,
                TASKS_SWEEP_INTERVAL="0.2",
            )
            workers.enter_context(worker).wait_until_ready()
            return CelerySettings.model_validate(settings)

        yield start


@pytest.fixture(scope="session")
def valkey_worker(
    shared_valkey: Valkey, start_worker: Callable[[str], CelerySettings]
) -> CelerySettings:
    """Run a worker on Valkey."""
    return start_worker(shared_valkey.url)


@pytest.fixture(scope="session")
def redis_worker(
    start_worker: Callable[[str], CelerySettings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CelerySettings]:
    """Run a worker on the Redis of this machine."""
    with REAL["redis"](tmp_path_factory.mktemp("redis")) as url:
        yield start_worker(url)


@pytest.fixture(scope="session")
def rabbitmq_worker(
    start_worker: Callable[[str], CelerySettings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CelerySettings]:
    """Run a worker on the RabbitMQ of this machine."""
    with REAL["rabbitmq"](tmp_path_factory.mktemp("rabbitmq")) as url:
        yield start_worker(url)


@pytest.fixture(scope="session")
def memory_worker(
    shared_database: str,
    shared_valkey: Valkey,
    journal_of_all: Journal,  # noqa: ARG001
) -> Iterator[CelerySettings]:
    """Run a worker in a thread for many tests; give the settings that lead to it."""
    settings = CelerySettings.model_validate(
        {"broker_url": "memory://", "limits_url": shared_valkey.url}
    )
    with worker_thread(settings, shared_database, sweep_interval=0.2):
        yield settings


@pytest.fixture
async def runner_on_engine(
    request: pytest.FixtureRequest,
    engine_name: str,
    shared_database: str,
    journal: Journal,  # noqa: ARG001
) -> AsyncIterator[TaskRunner]:
    """Give the runner that a service would have on the engine that the test is about."""
    settings: dict[str, Any] = {"drain_timeout": 5, "sweep_interval": 0.2}
    celery_settings = None
    if engine_name != "in process":
        celery_settings = request.getfixturevalue(f"{engine_name}_worker")
    async with open_runner(
        TaskSettings(**settings), celery_settings, url=shared_database
    ) as runner:
        yield runner
