"""Fixtures: a database with the tables of tasks."""

import pytest

from tests.tasks.gate import Gate

from .world import World


@pytest.fixture
def world(empty_database_url: str) -> World:
    world = World(empty_database_url)
    world.create()
    return world


@pytest.fixture
async def gate() -> Gate:
    return Gate()
