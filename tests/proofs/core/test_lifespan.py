"""The lifespan: what stops it, what it logs, and that it can be entered twice."""

import asyncio
import logging
import threading

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError

from app.service import create_app
from tests.databases.server import run


async def test_failing_migration_stops_the_startup(
    settings_env: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    """A database that cannot be reached does not: it may come up later."""
    settings_env.setenv("ENVIRONMENT", "development")
    settings_env.setenv("DATABASE_URL", empty_database_url)
    run(empty_database_url, "CREATE TABLE background_tasks (id INTEGER)")
    app = create_app()

    with pytest.raises(DBAPIError, match="already exists"):
        await app.router.lifespan_context(app).__aenter__()


@pytest.mark.parametrize(("keys", "warnings"), [("", 1), ("key", 0)])
async def test_missing_keys_are_logged_as_a_warning(
    settings_env: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, keys: str, warnings: int
) -> None:
    settings_env.setenv("API_KEYS", keys)
    app = create_app()

    async with app.router.lifespan_context(app):
        pass

    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(records) == warnings
    assert all("no API_KEYS" in record.getMessage() for record in records)


@pytest.mark.parametrize("arguments", [["--workers", "2"], ["--workers=2"], []])
async def test_several_server_processes_are_logged_as_a_warning(
    settings_env: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, arguments: list[str]
) -> None:
    settings_env.setattr("sys.argv", ["uvicorn", "app.main:app", *arguments])
    settings_env.setenv("WEB_CONCURRENCY", "" if arguments else "2")
    app = create_app()

    async with app.router.lifespan_context(app):
        assert "each server process has its own task queue and its own limits" in caplog.text


async def test_same_application_can_be_started_twice(settings_env: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - a fixture
    """A server may start the same application again, as a reloading test client does."""
    app = create_app()
    for _ in range(2):
        async with app.router.lifespan_context(app):
            assert app.state.runner.accepting
        assert not app.state.runner.accepting


async def test_slow_name_lookups_do_not_block_other_threads(app: FastAPI) -> None:  # noqa: ARG001 - it must run
    loop, name_found = asyncio.get_running_loop(), threading.Event()
    # The most threads that asyncio's own executor has on any machine.
    looking_up = [loop.run_in_executor(None, name_found.wait) for _ in range(32)]
    try:
        async with asyncio.timeout(5):
            await asyncio.to_thread(int)
    finally:
        name_found.set()
        await asyncio.gather(*looking_up)
