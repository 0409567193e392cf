"""The lifespan: what stops it, what it says, and that it may be entered twice."""

import asyncio
import logging
import threading

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError

from app.service import create_app
from tests.databases.server import run


async def test_a_migration_that_is_wrong_stops_the_start(
    settings_env: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    """Unlike a database that cannot be reached, which may come later."""
    settings_env.setenv("ENVIRONMENT", "development")
    settings_env.setenv("DATABASE_URL", empty_database_url)
    run(empty_database_url, "CREATE TABLE background_tasks (id INTEGER)")
    app = create_app()

    with pytest.raises(DBAPIError, match="already exists"):
        await app.router.lifespan_context(app).__aenter__()


@pytest.mark.parametrize(("keys", "warnings"), [("", 1), ("key", 0)])
async def test_the_log_says_that_there_are_no_keys(
    settings_env: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, keys: str, warnings: int
) -> None:
    settings_env.setenv("API_KEYS", keys)
    app = create_app()

    async with app.router.lifespan_context(app):
        pass

    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(records) == warnings
    assert all("no API_KEYS" in record.getMessage() for record in records)


async def test_twice(settings_env: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """A server may start the same application again, as a reloading test client does."""
    app = create_app()
    for _ in range(2):
        async with app.router.lifespan_context(app):
            assert app.state.runner.accepting
        assert not app.state.runner.accepting


async def test_names_that_are_looked_up_for_long_hold_up_nothing_else(app: FastAPI) -> None:  # noqa: ARG001 - it runs
    loop, found = asyncio.get_running_loop(), threading.Event()
    # As many as asyncio would have threads by itself, on any machine.
    looking_up = [loop.run_in_executor(None, found.wait) for _ in range(32)]
    try:
        async with asyncio.timeout(5):
            await asyncio.to_thread(int)
    finally:
        found.set()
        await asyncio.gather(*looking_up)
