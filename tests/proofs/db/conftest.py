"""Fixtures of the database proofs: a counter table, and a `Database` connected to it."""

from collections.abc import AsyncIterator

import pytest

from app.db import Database
from tests.db.conftest import Counter


@pytest.fixture
def counter(database_url: str) -> Counter:
    return Counter(database_url)


@pytest.fixture
async def database(counter: Counter) -> AsyncIterator[Database]:
    async with Database(counter.settings) as database:
        yield database
