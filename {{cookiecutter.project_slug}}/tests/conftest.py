"""Fixtures: a running application, a client for it, and what it mailed."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from app.db import DatabaseSettings
from app.db.migrate import migrate
from app.email import EmailMessage, MemorySender, current_sender
from app.tasks import TaskRunner

API_KEY = "test-key"
_OURS = (
    "ALERT_",
    "API_KEYS",
    "DATABASE_",
    "EMAIL_",
    "ENVIRONMENT",
    "LOG_",
    "MAX_UPLOAD_",
    "SERVICE_NAME",
    "SHUTDOWN_",
    "TASKS_",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's settings, `.env` and data out of reach of every test."""
    for name in [name for name in os.environ if name.startswith(_OURS)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a database once; every test gets a copy, since migrations take most of a start."""
    path = tmp_path_factory.mktemp("database") / "test.db"
    migrate(DatabaseSettings(url=f"sqlite:///{path}"))
    return path


@pytest.fixture
def settings_env(
    tmp_path: Path, migrated_database: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """Set up the environment of a test; set more on the result before asking for `app`."""
    shutil.copy(migrated_database, tmp_path / "test.db")
    monkeypatch.setenv("ENVIRONMENT", "test")
    monkeypatch.setenv("API_KEYS", f"other-key, {API_KEY}")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/test.db")
    monkeypatch.setenv("EMAIL_BACKEND", "memory")
    return monkeypatch


@pytest.fixture
async def app(settings_env: pytest.MonkeyPatch) -> AsyncIterator[FastAPI]:  # noqa: ARG001
    """Run the service as a server would, without one."""
    from app.main import create_app  # noqa: PLC0415 - importing it reads the settings

    service = create_app()
    async with service.router.lifespan_context(service):
        yield service


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client with a valid key; an unexpected error is an answer here, as for a user."""
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    headers = {"X-API-Key": API_KEY}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        yield client


@pytest.fixture
def runner(app: FastAPI) -> TaskRunner:
    """Give the task runner of the application: `await runner.join(5)`."""
    runner: TaskRunner = app.state.runner
    return runner


@pytest.fixture
async def outbox(app: FastAPI) -> list[EmailMessage]:  # noqa: ARG001 - it sets the sender
    """Give the list of the messages that were sent."""
    sender = current_sender.get()
    assert isinstance(sender, MemorySender)
    return sender.sent
