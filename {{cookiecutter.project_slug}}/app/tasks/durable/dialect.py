"""What each database does in its own way: the time, upserts, locks, telling other processes."""

import time
from functools import lru_cache
from importlib import import_module
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Float,
    Select,
    Table,
    bindparam,
    cast,
    func,
    null,
    select,
)
from sqlalchemy import extract as extract_from
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

WAKE_CHANNEL = "background_tasks"
"""What whoever wants to be told listens to."""
_LOCK = 4_206_021_310
"""The number of the server's advisory lock for claims of limited tasks: one that nobody uses."""
_FROZEN = "10s"
"""How long that lock may be held by a process that does nothing."""
_SERVER_TIME: ColumnElement[float] = cast(
    extract_from("epoch", func.statement_timestamp()), Float(53)
)
_MACHINE_TIME: ColumnElement[float] = bindparam(None, callable_=time.time, type_=Float)


def dialect_of(session: AsyncSession | Session) -> str:
    """Return the name of the database in use."""
    return session.get_bind().dialect.name


def now(session: AsyncSession | Session) -> ColumnElement[float]:
    """Return the time at which a statement runs, in seconds since the epoch.

    It is that of the database server if there is one: two machines may disagree about the time, but
    all of them ask the one server.
    """
    return _MACHINE_TIME if dialect_of(session) == "sqlite" else _SERVER_TIME


def clock_of_rows(dialect: str) -> tuple[ColumnElement[float], dict[str, float]]:
    """Return a clock, see `now`, that is the same for all rows of an insert; and its parameters."""
    if dialect == "sqlite":
        return bindparam("clock", type_=Float), {"clock": time.time()}
    return _SERVER_TIME, {}


def insert_into(table: Table, dialect: str) -> Any:
    """Return the `insert` of the database in use: only that knows what a conflict is."""
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table)


@lru_cache
def elements(dialect: str, texts: str) -> Select[str]:
    """Select the texts in the list that is the value of the parameter `texts`.

    They are one parameter: there may be more of them than a statement can have parameters.
    """
    array = bindparam(texts, type_=JSON)
    if dialect == "sqlite":
        each = func.json_each(array)
    else:
        each = func.json_array_elements_text(cast(array, JSON))
    return select(each.table_valued("value").c.value)


def notification(dialect: str) -> ColumnElement[Any]:
    """Tell other processes at the commit that there is something to claim, if the database can.

    It is a part of the transaction: nobody is told of what is rolled back, or before it is there.
    """
    return null() if dialect == "sqlite" else func.pg_notify(WAKE_CHANNEL, "")


async def lock_claims(session: AsyncSession) -> None:
    """Let nobody else claim limited tasks until the session ends."""
    # A file has one writer at a time, and what claims is one.
    if dialect_of(session) != "sqlite":
        ends = func.set_config("idle_in_transaction_session_timeout", _FROZEN, True)
        await session.execute(select(ends, func.pg_advisory_xact_lock(_LOCK)))
