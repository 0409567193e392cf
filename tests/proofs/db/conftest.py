"""Fixtures of the database proofs: those of the service's tests, and its counter's database."""

from collections.abc import AsyncIterator

import pytest

from app.db import Database
from tests.db.conftest import Counter, counter

__all__ = ["counter"]


@pytest.fixture
async def database(counter: Counter) -> AsyncIterator[Database]:
    async with Database(counter.settings) as database:
        yield database
