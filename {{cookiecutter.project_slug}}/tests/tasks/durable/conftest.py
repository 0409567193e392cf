"""Fixtures: a database file with the table of tasks."""

from pathlib import Path

import pytest

from tests.tasks.gate import Gate

from .world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "test.db")
    world.create()
    return world


@pytest.fixture
async def gate() -> Gate:
    return Gate()
