"""Fixtures: a database with the tables of tasks."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy.exc import OperationalError

from tests.databases.server import DatabaseServer
from tests.tasks.gate import Gate

from .world import World

_templates: dict[DatabaseServer, str] = {}
"""The database with all tables on each server: copying it is faster than creating the tables."""


@pytest.fixture(scope="package", autouse=True)
def _drop_templates() -> Iterator[None]:
    yield
    for server, url in _templates.items():
        with suppress(OperationalError):  # a server of a single module has stopped
            server.drop(url)


@pytest.fixture
def world(database_server: DatabaseServer) -> Iterator[World]:
    if database_server not in _templates:
        _templates[database_server] = template = database_server.create()
        World(template).create()
    url = database_server.create(_templates[database_server])
    yield World(url)
    database_server.drop(url)


@pytest.fixture
async def gate() -> Gate:
    return Gate()
