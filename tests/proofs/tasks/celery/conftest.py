"""Fixtures: brokers, databases, a journal, and the small application on every engine."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import cache
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


@pytest.fixture(scope="package")
def journal_of_all() -> Iterator[Journal]:
    with Journal() as journal:
        os.environ[ADDRESS] = journal.variables[ADDRESS]
        yield journal
        del os.environ[ADDRESS]


@pytest.fixture
def journal(journal_of_all: Journal) -> Journal:
    """Give an empty journal."""
    journal_of_all.clear()
    return journal_of_all


@pytest.fixture(scope="package")
def shared_database(database_server: DatabaseServer) -> Iterator[str]:
    """Give the database of the workers that tests share."""
    with database_server.database(migrated=True) as url:
        run(url, SHIPPED)
        yield url


@pytest.fixture
def shipping(database_url: str) -> str:
    """Give a database of this test's own, with a table for the effects of tasks."""
    run(database_url, SHIPPED)
    return database_url


@pytest.fixture(scope="package")
def valkey_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    valkey = Valkey(tmp_path_factory.mktemp("valkey"))
    yield valkey
    valkey.close()


@pytest.fixture
def valkey(valkey_of_all: Valkey) -> Valkey:
    """Give an empty Valkey."""
    valkey_of_all.clear()
    return valkey_of_all


@pytest.fixture(params=["valkey", *REAL])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Give the URL of an empty broker, of every sort in turn."""
    if request.param == "valkey":
        valkey: Valkey = request.getfixturevalue("valkey")
        yield valkey.url
        return
    with REAL[request.param](tmp_path_factory.mktemp(request.param)) as url:
        yield url


@pytest.fixture(scope="package")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Give the Valkey of the workers that tests share."""
    valkey = Valkey(tmp_path_factory.mktemp("shared-valkey"))
    yield valkey
    valkey.close()


@pytest.fixture(scope="package")
def worker_on(
    shared_valkey: Valkey,
    shared_database: str,
    journal_of_all: Journal,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], CelerySettings]]:
    """Give a function that starts one shared worker process per broker and returns its settings."""
    with ExitStack() as running:

        @cache
        def worker_on(name: str) -> CelerySettings:
            url = shared_valkey.url
            if name != "valkey":
                url = running.enter_context(REAL[name](tmp_path_factory.mktemp(name)))
            worker = WorkerProcess(
                tmp_path_factory.mktemp("worker"),
                journal_of_all,
                CELERY_BROKER_URL=url,
                CELERY_LIMITS_URL=shared_valkey.url,
                DATABASE_URL=shared_database,
                TASKS_SWEEP_INTERVAL="0.2",
            )
            running.enter_context(worker).wait_until_ready()
            return settings_of(url, shared_valkey)

        yield worker_on


@pytest.fixture(scope="package")
def memory_worker(
    shared_database: str,
    shared_valkey: Valkey,
    journal_of_all: Journal,  # noqa: ARG001 - a fixture
) -> Iterator[CelerySettings]:
    """Run a shared worker in a thread; give the settings with which tests reach it."""
    settings = settings_of("memory://", shared_valkey)
    with worker_thread(settings, shared_database, sweep_interval=0.2):
        yield settings


def settings_of(broker: str, valkey: Valkey) -> CelerySettings:
    return CelerySettings.model_validate({"broker_url": broker, "limits_url": valkey.url})


@pytest.fixture
async def runner_on_engine(
    request: pytest.FixtureRequest,
    engine_name: str,
    shared_database: str,
    journal: Journal,  # noqa: ARG001 - a fixture
) -> AsyncIterator[TaskRunner]:
    """Give the runner that a service has on the engine of this test."""
    settings: dict[str, Any] = {"drain_timeout": 5, "sweep_interval": 0.2}
    celery_settings = None
    if engine_name == "memory":
        celery_settings = request.getfixturevalue("memory_worker")
    elif engine_name != "in process":
        celery_settings = request.getfixturevalue("worker_on")(engine_name)
    async with open_runner(
        TaskSettings(**settings), celery_settings, url=shared_database
    ) as runner:
        yield runner
