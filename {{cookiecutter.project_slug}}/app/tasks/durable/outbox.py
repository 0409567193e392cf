"""The outbox: durable tasks submitted in a session become rows of its transaction."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from operator import itemgetter
from typing import Any, ParamSpec

from sqlalchemy import bindparam, case, delete, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from ..errors import OutsideTransactionError
from ..info import TaskState
from ..options import NO_OPTIONS
from ..settings import TaskSettings
from ..task import Task
from .dialect import clock_of_rows, dialect_of, insert_into, notification, now
from .row import new_row
from .table import steps, tasks

P = ParamSpec("P")

_APART = 1e-6
"""Seconds between the rows of one transaction, so that the first of them goes first."""


class Entry:
    """A row to write."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.transaction: Any = None
        """The innermost one, perhaps a savepoint, that may take the row away."""
        self.written_in: Any = None
        """That which takes away what was written, which may be a savepoint within this one."""

    def ended(self, *, committed: bool) -> None:
        """Hear, once, whether the row is in the table; not if another with its key is open."""


class Outbox:
    """The durable tasks of one session's transaction.

    It is kept by the session and does not know it: a circle would outlive every request.
    """

    def __init__(self) -> None:
        self._ending: set[Any] = set()
        """The transaction and savepoints that are being committed, as far as is known."""
        self._entries: list[Entry] = []

    def add(self, session: Session, entry: Entry) -> None:
        """Write a row when the transaction commits, and not at all if it does not."""
        entry.transaction = _innermost(session)
        self._entries.append(entry)
        if session.get_transaction() in self._ending:  # by a hook, or of the flush that follows
            self._write(session)

    def before_commit(self, session: Session) -> None:
        """Write the rows, if the whole transaction is about to be committed."""
        ending = _innermost(session)
        again = ending in self._ending  # as it does when one around it is committed with it
        self._ending.add(ending.parent or ending if again else ending)
        if session.get_transaction() in self._ending:
            self._write(session)

    def after_commit(self, session: Session) -> None:
        """Tell who submitted what was written; what was in a savepoint is in that around it."""
        transaction = _innermost(session)
        if transaction.parent is None:
            self._end(self._entries, committed=True)
        for entry in self._entries:
            if entry.transaction is transaction:
                entry.transaction = transaction.parent
            if entry.written_in is transaction:
                entry.written_in = transaction.parent

    def after_transaction_end(self, _: Session, transaction: SessionTransaction) -> None:
        """Drop what was not committed; the session may begin another transaction."""
        # Not after_rollback: there is none when the connection is lost, or the session closed.
        self._ending.discard(transaction)
        if transaction.parent is None:
            self._end(self._entries)
        elif transaction.nested:  # and not that of a flush
            self._end(one for one in self._entries if one.transaction is transaction)
            for entry in self._entries:
                if entry.written_in is transaction:
                    entry.written_in = None

    def _write(self, session: Session) -> None:
        entries = [entry for entry in self._entries if entry.written_in is None]
        if not entries:
            return
        for entry in entries:
            entry.written_in = _innermost(session)
        with session.no_autoflush:  # other hooks may want to see what is not flushed yet
            begun = add_rows(session, [dict(entry.row) for entry in entries])
        self._end(entry for entry in entries if entry.row["id"] not in begun)

    def _end(self, entries: Iterable[Entry], *, committed: bool = False) -> None:
        ended = set(entries)
        self._entries = [entry for entry in self._entries if entry not in ended]
        for entry in ended:
            entry.ended(committed=committed)


def _innermost(session: Session) -> Any:
    """Return the innermost savepoint, or the transaction if there is none."""
    return session.get_nested_transaction() or session.get_transaction()


def _tell(name: str, session: Session, *transaction: SessionTransaction) -> None:
    """Let the outbox of a session hear of an event of the session."""
    getattr(outbox_of(session), name)(session, *transaction)


# Of every session: to listen to each one takes 50 µs, and SQLAlchemy would keep them all.
for _name in ("before_commit", "after_commit", "after_transaction_end"):
    event.listen(Session, _name, partial(_tell, _name))

current_session: ContextVar[Session | None] = ContextVar("current_session", default=None)
"""The session in whose block the code runs: what is submitted is part of its transaction."""


def session_of_submission(name: str) -> Session:
    """Return the session in whose block the task `name` is submitted.

    Raises OutsideTransactionError if there is none, or its transaction has ended.
    """
    session = current_session.get()
    if session is None or not (session.in_transaction() and session.is_active):
        msg = (
            f"the durable task {name} was submitted outside a session: add it in an endpoint"
            " that takes a SessionDep, or inside `async with task_session():`"
        )
        raise OutsideTransactionError(msg)
    return session


def outbox_of(session: Session) -> Outbox:
    """Return the outbox of a session."""
    # Not under a name: another copy of this package has outboxes of its own.
    found: Outbox = session.info.setdefault(Outbox, Outbox())
    return found


@contextmanager
def outbox(session: AsyncSession) -> Iterator[None]:
    """Let durable tasks that are submitted in this block become rows of `session`'s transaction.

    A transaction must have begun when they are; its commit belongs into the block, since hooks of
    the session may submit tasks, too.
    """
    before = current_session.get()
    current_session.set(session.sync_session)
    try:
        yield
    finally:
        current_session.set(before)


def enqueue(
    session: AsyncSession | Session, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
) -> str:
    """Add a durable task to the transaction of a session; return the task's id.

    For scripts, migrations and other services. The task runs after the commit, when a service that
    knows its name next polls the table: within `TASKS_SWEEP_INTERVAL` seconds, or at once if the
    database wakes it. Raises TypeError if `func` is not a durable task, and ArgumentError as
    `TaskRunner.submit` does.
    """
    if not isinstance(func, Task) or not func.durable:
        msg = f"{func!r} is not a durable task: decorate it with @task(durable=True)"
        raise TypeError(msg)
    sync_session = session.sync_session if isinstance(session, AsyncSession) else session
    if not sync_session.in_transaction():
        sync_session.begin()  # or its rollback would not take the task away
    row = new_row(func, func.check_arguments(args, kwargs), NO_OPTIONS, {}, _aging())
    outbox_of(sync_session).add(sync_session, Entry(row))
    return str(row["id"])


@cache  # to read the settings takes ten times as long as the rest
def _aging() -> float:
    return TaskSettings().aging


def add_rows(session: Session, rows: list[dict[str, Any]]) -> set[str]:
    """Insert rows, see `row.new_row`, that are due after their delay from now on.

    A row whose id is that of a key stands for all calls with the key: while it waits or runs
    nothing is inserted, and when it has ended it begins anew, without the steps that it has taken.
    Returns the ids of the rows that begin.
    """
    keys = {row["id"] for row in rows if row.pop("has_key")}
    unique: dict[str, dict[str, Any]] = {}
    for row in rows:
        unique.setdefault(row["id"], row)
    _, clock = clock_of_rows(dialect_of(session))
    values = [{**row, **clock, "offset": n * _APART} for n, row in enumerate(unique.values())]
    # Keys in one order, so that no two transactions with the same ones wait for each other.
    values.sort(key=lambda row: row["id"] if row["id"] in keys else "")
    begun = set(session.execute(_adding(dialect_of(session)), values).scalars())
    if keys & begun:
        session.execute(delete(steps).where(steps.c.task_id.in_(keys & begun)))
    return begun


def add_ticks(session: Session, rows: list[dict[str, Any]]) -> None:
    """Insert rows that say themselves when they are due; one that is there, or was, stays so."""
    statement = insert_into(tasks, dialect_of(session)).values(
        state=TaskState.QUEUED, attempts=0, created_at=now(session), lease_until=0.0
    )
    session.execute(statement.on_conflict_do_nothing(), sorted(rows, key=itemgetter("id")))


@cache  # to build it takes longer than the insert
def _adding(dialect: str) -> Any:
    """Return the insert of `add_rows`."""
    clock, _ = clock_of_rows(dialect)
    created_at = clock + bindparam("offset")
    due_at = created_at + bindparam("delay")
    statement = insert_into(tasks, dialect).values(
        state=TaskState.QUEUED,
        attempts=0,
        created_at=created_at,
        due_at=due_at,
        position=due_at + bindparam("rank"),
        lease_until=0.0,
    )
    # Not the id: that would wait for steps of the task, and they perhaps for this transaction.
    anew = {name: statement.excluded[name] for name in tasks.c.keys() if name != "id"}  # noqa: SIM118 - no dict
    return statement.on_conflict_do_update(
        index_elements=[tasks.c.id], set_=anew, where=tasks.c.finished_at.is_not(None)
    ).returning(tasks.c.id, case((tasks.c.due_at <= tasks.c.created_at, notification(dialect))))
