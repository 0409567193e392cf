"""Notification: the commit of a transaction wakes those who listen, if the database can do that."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

WAKE_CHANNEL = "background_tasks"
"""What whoever wants to be told listens to."""


def notify(session: Session) -> None:
    """Tell other processes at the commit that there is something to claim.

    It is a part of the transaction: nobody is told of what is rolled back, or before it is there.
    """
    if session.get_bind().dialect.name != "sqlite":
        session.execute(select(func.pg_notify(WAKE_CHANNEL, "")))
