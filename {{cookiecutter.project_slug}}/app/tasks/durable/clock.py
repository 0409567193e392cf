"""The clock by which durable tasks are due and leases end, in seconds since the epoch."""

import time

from sqlalchemy import ColumnElement, Float, bindparam, cast, extract, func
from sqlalchemy.orm import Session

_OF_THE_SERVER: ColumnElement[float] = cast(extract("epoch", func.statement_timestamp()), Float(53))
_OF_THIS_MACHINE: ColumnElement[float] = bindparam(None, callable_=time.time, type_=Float)


def now(session: Session) -> ColumnElement[float]:
    """Return the time at which a statement runs, of the database server if there is one.

    Two machines may disagree about the time, but all of them ask the one server.
    """
    on_this_machine = session.get_bind().dialect.name == "sqlite"
    return _OF_THIS_MACHINE if on_this_machine else _OF_THE_SERVER
