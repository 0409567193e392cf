"""Health: what probes see."""

import asyncio

import httpx2
import pytest
from fastapi import FastAPI

from app.db import Database, DatabaseSettings
from tests.databases.server import DatabaseServer, run


async def test_health_needs_no_key(client: httpx2.AsyncClient) -> None:
    for path in ("/health/live", "/health/ready"):
        response = await client.get(path, headers={"X-API-Key": ""})

        assert response.status_code == 200
        assert response.json() == {"status": "ok"}


async def test_a_service_without_its_database_is_alive_but_not_ready(
    app: FastAPI, client: httpx2.AsyncClient, database_server: DatabaseServer
) -> None:
    app.state.database = Database(DatabaseSettings(url=database_server.unreachable()))

    ready = await client.get("/health/ready")

    assert ready.status_code == 503
    assert ready.json()["detail"] == "the database cannot be used"
    assert (await client.get("/health/live")).status_code == 200


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("DROP TABLE alembic_version", 503),
        ("DELETE FROM alembic_version", 503),
        ("UPDATE alembic_version SET version_num = 'of a later release'", 200),
    ],
)
async def test_readiness_requires_every_migration_of_this_code(
    client: httpx2.AsyncClient,
    database_url: str,
    caplog: pytest.LogCaptureFixture,
    statement: str,
    status: int,
) -> None:
    await asyncio.to_thread(run, database_url, statement)

    ready = await client.get("/health/ready")

    assert ready.status_code == status
    assert caplog.text.count("alembic upgrade head") == (status == 503)
    if status == 503:
        cause = "the database lacks migrations of this code: alembic upgrade head"
        assert ready.json()["detail"] == cause
