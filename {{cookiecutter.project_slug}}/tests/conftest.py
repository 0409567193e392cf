"""Fixtures: a running application, a client for it, and the mails that it sent."""

import gc
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app.feature import Feature, load_features
from app.mail import EmailMessage, MemorySender, current_sender
from app.service import create_app
from app.settings import Settings
from app.tasks import TaskRunner

from .databases.server import DatabaseServer, start_server

API_KEY = "test-key"
TEST = {
    "ENVIRONMENT": "test",
    "API_KEYS": f"other-key, {API_KEY}",
    "EMAIL_BACKEND": "memory",
    "TASKS_PERIODIC": "false",  # what a test sees must not depend on the time of day
}
"""The environment of tests, without the database."""
PRODUCTION = {
    "ENVIRONMENT": "production",
    "API_KEYS": "key-of-production-0123",
    "EMAIL_BACKEND": "smtp",
    "EMAIL_SMTP_HOST": "localhost",
}
"""The least that production requires, without the database."""
_EXAMPLE = Path(__file__).parents[1] / ".env.example"
_SETTINGS = frozenset(re.findall(r"^(\w+)=", _EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))


def pytest_collection_finish() -> None:
    """Keep the garbage collector from scanning the imported modules again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the developer's settings, `.env` and proxy from all tests."""
    with pytest.MonkeyPatch.context() as environment:
        for name in _SETTINGS:
            environment.delenv(name, raising=False)
        environment.setenv("PROJECT_DIR", str(tmp_path_factory.mktemp("run")))
        environment.setenv("no_proxy", "*")  # the lowercase spelling takes precedence
        yield


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder of its own, so that no file is left in the project."""
    monkeypatch.setenv("PROJECT_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """Yield the server that makes databases; it starts with the first test that needs one."""
    with start_server(tmp_path_factory.mktemp("databases")) as server:
        yield server


@pytest.fixture
def database_url(database_server: DatabaseServer) -> Iterator[str]:
    """Yield the URL of a database for this test alone, with all tables."""
    with database_server.database(migrated=True) as url:
        yield url


@pytest.fixture(scope="module")
def shared_database_url(database_server: DatabaseServer) -> Iterator[str]:
    """Yield the URL of one database for all tests of a module, with all tables."""
    with database_server.database(migrated=True) as url:
        yield url


@pytest.fixture
def empty_database_url(database_server: DatabaseServer) -> Iterator[str]:
    """Yield the URL of a database for this test alone, without tables."""
    with database_server.database(migrated=False) as url:
        yield url


@pytest.fixture
def settings_env(database_url: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set the environment of a test; set more variables on the result before `app` starts."""
    for name, value in {**TEST, "DATABASE_URL": database_url}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def production_env(settings_env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set an environment that production accepts; development accepts it, too."""
    for name, value in PRODUCTION.items():
        settings_env.setenv(name, value)
    return settings_env


@pytest.fixture
async def app(settings_env: pytest.MonkeyPatch) -> AsyncIterator[FastAPI]:  # noqa: ARG001 - a fixture
    """Run the service with its lifespan, in this process and without a server."""
    async with serve() as service:
        yield service


@pytest.fixture(scope="module")
async def shared_app(shared_database_url: str) -> AsyncIterator[FastAPI]:
    """Run one service for all tests of a file; each of them must leave it as it was."""
    async with serve(DATABASE_URL=shared_database_url, **TEST) as service:
        yield service


@asynccontextmanager
async def serve(*features: Feature, **variables: str) -> AsyncIterator[FastAPI]:
    """Run the service with additional features and environment variables."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        settings = Settings()
        service = create_app(settings, [*load_features(settings), *features])
    async with service.router.lifespan_context(service):
        yield service


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client with a valid key; an exception becomes a response with 500, as for a user."""

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
            raise  # logged, as uvicorn does: the output of a failed test shows the cause

    transport = httpx2.ASGITransport(logged, raise_app_exceptions=False)
    headers = {"X-API-Key": API_KEY}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        yield client


@pytest.fixture
def runner(app: FastAPI) -> TaskRunner:
    """Return the application's task runner: `await runner.join(5)` waits for its tasks."""
    runner: TaskRunner = app.state.runner
    return runner


@pytest.fixture
async def outbox(app: FastAPI) -> list[EmailMessage]:  # noqa: ARG001 - app sets the sender
    """Return the list of mails that the application has sent in this test."""
    sender = current_sender.get()
    assert isinstance(sender, MemorySender)
    sender.sent.clear()
    return sender.sent
