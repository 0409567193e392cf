"""`UtcDateTime` stores aware datetimes and returns the same times in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select
from sqlalchemy.exc import StatementError

from app.db import Database, UtcDateTime, utc_now

table = Table(
    "test_db_times", MetaData(), Column("id", Integer, primary_key=True), Column("at", UtcDateTime)
)


@pytest.fixture
async def database(database: Database) -> Database:
    async with database.session() as session:
        await session.run_sync(lambda sync: table.create(sync.connection()))
    return database


async def test_stored_times_are_read_back_in_utc(database: Database) -> None:
    values = [
        datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
        None,
    ]
    async with database.session() as session:
        await session.execute(insert(table), [{"at": value} for value in values])
    async with database.session() as session:
        stored = (await session.scalars(select(table.c.at).order_by(table.c.id))).all()

    assert stored == values
    assert [time.tzinfo for time in stored if time is not None] == [UTC] * 4


async def test_stored_datetimes_are_compared_correctly_in_sql(database: Database) -> None:
    early = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=10)))  # 02:00 UTC
    late = datetime(2026, 1, 1, 3, tzinfo=UTC)
    async with database.session() as session:
        await session.execute(insert(table), [{"at": late}, {"at": early}])
    async with database.session() as session:
        first = await session.scalar(select(func.min(table.c.at)))
        after = await session.scalar(select(func.count()).where(table.c.at > early))

    assert first == early
    assert after == 1


async def test_naive_datetime_is_refused(database: Database) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - naive on purpose

    with pytest.raises(StatementError, match="without a time zone"):
        async with database.session() as session:
            await session.execute(insert(table).values(at=naive))


def test_aware_value_from_a_driver_is_converted_to_utc() -> None:
    value = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=10)))

    given = UtcDateTime().process_result_value(value, None)  # type: ignore[arg-type]

    assert given == value
    assert given is not None
    assert given.tzinfo is UTC


def test_utc_now_is_aware_and_current() -> None:
    assert utc_now().tzinfo is UTC
    assert abs(utc_now() - datetime.now(UTC)) < timedelta(seconds=5)
