"""What differs between databases: the clock, upserts, lists, locks, notifications."""

import time
from functools import lru_cache
from importlib import import_module
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnClause,
    ColumnElement,
    Float,
    FromClause,
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
"""The channel on which other processes are notified of new tasks."""
_LOCK = 4_206_021_310
"""The server's advisory lock for claims of limited tasks: a number that nobody else uses."""
_IDLE_TIMEOUT = "10s"
"""How long a process may hold that lock without doing anything."""
_SERVER_TIME: ColumnElement[float] = cast(
    extract_from("epoch", func.statement_timestamp()), Float(53)
)
_MACHINE_TIME: ColumnElement[float] = bindparam(None, callable_=time.time, type_=Float)


def dialect_of(session: AsyncSession | Session) -> str:
    """Return the name of the database in use."""
    return session.get_bind().dialect.name


def now(session: AsyncSession | Session) -> ColumnElement[float]:
    """Return the time at which a statement runs, in seconds since the epoch.

    If there is a database server, its clock decides, because the clocks of two machines may differ.
    """
    return _MACHINE_TIME if dialect_of(session) == "sqlite" else _SERVER_TIME


def insert_into(table: Table, dialect: str) -> Any:
    """Return the `insert` of the database in use: only this one has `ON CONFLICT`."""
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table)


def rows_of_json(dialect: str, parameter: str, *columns: ColumnClause[Any]) -> FromClause:
    """Return the rows in a JSON list of objects, whose text is the value of one parameter.

    With a parameter for each value, a statement for a thousand rows blocks the event loop.
    """
    if dialect == "sqlite":
        row = func.json_each(bindparam(parameter)).table_valued("value").c.value
        values = [
            func.json_extract(row, f"$.{c.name}", type_=c.type).label(c.name) for c in columns
        ]
        return select(*values).subquery()
    rows = func.json_to_recordset(cast(bindparam(parameter), JSON)).table_valued(*columns)
    return rows.render_derived(with_types=True)


@lru_cache
def elements(dialect: str, parameter: str) -> Select[str]:
    """Select the texts in a list, which is the value of one parameter.

    With a parameter for each text, a long list would have more than a statement may have.
    """
    array = bindparam(parameter, type_=JSON)
    if dialect == "sqlite":
        each = func.json_each(array)
    else:
        each = func.json_array_elements_text(cast(array, JSON))
    return select(each.table_valued("value").c.value)


def notification(dialect: str) -> ColumnElement[Any]:
    """Return the expression that tells other processes, at the commit, of tasks to claim.

    It is null if the database has no notifications. A rollback sends none.
    """
    return null() if dialect == "sqlite" else func.pg_notify(WAKE_CHANNEL, "")


async def lock_claims(session: AsyncSession) -> None:
    """Keep others from claiming limited tasks until the session ends."""
    # A database in a file has one writer at a time anyway, and a claim writes.
    if dialect_of(session) != "sqlite":
        timeout = func.set_config("idle_in_transaction_session_timeout", _IDLE_TIMEOUT, True)
        await session.execute(select(timeout, func.pg_advisory_xact_lock(_LOCK)))
