"""The clock by which durable tasks are due and leases end, in seconds since the epoch."""

import time

from sqlalchemy import ColumnElement, Float, cast, extract, func, literal
from sqlalchemy.orm import Session


def now(session: Session) -> ColumnElement[float]:
    """Return the time of the database server, or of this machine if there is no server.

    Two machines may disagree about the time, but all of them ask the one server.
    """
    if session.get_bind().dialect.name == "postgresql":
        return cast(extract("epoch", func.statement_timestamp()), Float(53))
    return literal(time.time())
