"""The outbox: turns durable tasks submitted in a session into rows of its transaction."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from operator import itemgetter
from typing import Any, ParamSpec

from sqlalchemy import ColumnElement, Float, case, column, delete, event, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from ..errors import OutsideTransactionError
from ..options import NO_OPTIONS
from ..settings import TaskSettings
from ..task import Task
from .dialect import dialect_of, elements, insert_into, notification, now, rows_of_json
from .row import COLUMNS, new_row
from .table import steps, tasks

P = ParamSpec("P")

_APART = 1e-6
"""Seconds between the rows of one transaction, so that they start in the order of submission."""


class Entry:
    """A row that is written when the transaction commits."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.transaction: Any = None
        """The innermost transaction or savepoint whose rollback discards the entry."""
        self.written_in: Any = None
        """The one whose rollback discards the written row: `transaction`, or a savepoint in it."""

    def ended(self, *, committed: bool) -> None:
        """Called once; `committed` is False after a rollback, or if the task's key is in use."""


class Outbox:
    """The durable tasks of one session's transaction.

    The session refers to it. It does not refer to the session: the cycle would outlive the request.
    """

    def __init__(self) -> None:
        self._ending: set[Any] = set()
        """The transaction and savepoints whose commits have begun, as far as the events tell."""
        self._entries: list[Entry] = []

    def add(self, session: Session, entry: Entry) -> None:
        """Write a row when the transaction commits, and not at all if it does not."""
        entry.transaction = _innermost(session)
        self._entries.append(entry)
        if session.get_transaction() in self._ending:  # submitted by a hook or flush of the commit
            self._write(session)

    def before_commit(self, session: Session) -> None:
        """Write the rows if the outermost transaction is about to be committed."""
        ending = _innermost(session)
        # A second event of a savepoint means that the transaction around it is committed, too.
        again = ending in self._ending
        self._ending.add(ending.parent or ending if again else ending)
        if session.get_transaction() in self._ending:
            self._write(session)

    def after_commit(self, session: Session) -> None:
        """Tell the entries that they are committed; pass a savepoint's to the one around it."""
        transaction = _innermost(session)
        if transaction.parent is None:
            self._end(self._entries, committed=True)
        for entry in self._entries:
            if entry.transaction is transaction:
                entry.transaction = transaction.parent
            if entry.written_in is transaction:
                entry.written_in = transaction.parent

    def after_transaction_end(self, _: Session, transaction: SessionTransaction) -> None:
        """Discard entries that were not committed; the session may begin another transaction."""
        # Not after_rollback: it does not come when the connection is lost or the session closed.
        self._ending.discard(transaction)
        if transaction.parent is None:
            self._end(self._entries)
        elif transaction.nested:  # a savepoint, not the subtransaction of a flush
            self._end(entry for entry in self._entries if entry.transaction is transaction)
            for entry in self._entries:
                if entry.written_in is transaction:
                    entry.written_in = None

    def _write(self, session: Session) -> None:
        entries = [entry for entry in self._entries if entry.written_in is None]
        if not entries:
            return
        for entry in entries:
            entry.written_in = _innermost(session)
        with session.no_autoflush:  # later hooks may need to see what has not been flushed yet
            added = add_rows(session, [dict(entry.row) for entry in entries])
        self._end(entry for entry in entries if entry.row["id"] not in added)

    def _end(self, entries: Iterable[Entry], *, committed: bool = False) -> None:
        ended = set(entries)
        self._entries = [entry for entry in self._entries if entry not in ended]
        for entry in ended:
            entry.ended(committed=committed)


def _innermost(session: Session) -> Any:
    """Return the innermost savepoint, or the transaction if there is none."""
    return session.get_nested_transaction() or session.get_transaction()


def _pass_event(name: str, session: Session, *transaction: SessionTransaction) -> None:
    """Call the method of the session's outbox that handles the event `name`."""
    getattr(outbox_of(session), name)(session, *transaction)


# To listen to each session would take 50 µs, and SQLAlchemy would keep every session forever.
for _name in ("before_commit", "after_commit", "after_transaction_end"):
    event.listen(Session, _name, partial(_pass_event, _name))

current_session: ContextVar[Session | None] = ContextVar("current_session", default=None)
"""The session of the `outbox` block in which the code runs; None outside one."""


def session_of_submission(name: str) -> Session:
    """Return the session in whose `outbox` block the task `name` is being submitted.

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
    # The key is the class, not a text: another copy of this package keeps outboxes of its own.
    own: Outbox = session.info.setdefault(Outbox, Outbox())
    return own


@contextmanager
def outbox(session: AsyncSession) -> Iterator[None]:
    """Write durable tasks that are submitted in this block as rows of `session`'s transaction.

    Begin the transaction before the first submission, and commit it inside the block: hooks of the
    session may submit tasks, too.
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
        sync_session.begin()  # without a transaction, a rollback would not discard the task
    row = new_row(func, func.check_arguments(args, kwargs), NO_OPTIONS, {}, _aging())
    outbox_of(sync_session).add(sync_session, Entry(row))
    return str(row["id"])


@cache  # reading the settings takes ten times as long as the rest of `enqueue`
def _aging() -> float:
    return TaskSettings().aging


def add_rows(session: Session, rows: list[dict[str, Any]]) -> set[str]:
    """Insert rows of `row.new_row`, due when their delay has passed; return their ids.

    All calls with one key share a row. While it waits or runs, nothing is inserted, and its id is
    not returned. When it has ended, it is overwritten by the new call, and its steps are deleted.
    """
    keys = {row["id"] for row in rows if row.pop("has_key")}
    unique: dict[str, dict[str, Any]] = {}
    for row in rows:
        unique.setdefault(row["id"], {**row, "delay": row["delay"]()})
    values = [{**row, "offset": n * _APART} for n, row in enumerate(unique.values())]
    # Keys are written in the order of their ids, so that two transactions cannot deadlock.
    values.sort(key=lambda row: row["id"] if row["id"] in keys else "")
    text = json.dumps(values, ensure_ascii=False)  # escapes can triple its length
    added = set(session.scalars(_insert(dialect_of(session), now(session)), {"rows": text}))
    if keys & added:
        of_keys = steps.c.task_id.in_(elements(dialect_of(session), "ids"))
        session.execute(delete(steps).where(of_keys), {"ids": [*keys & added]})
    return added


def add_ticks(session: Session, rows: list[dict[str, Any]]) -> None:
    """Insert rows of ticks, which have a `due_at`; a tick that is in the table stays as it is."""
    statement = insert_into(tasks, dialect_of(session)).values(created_at=now(session))
    session.execute(statement.on_conflict_do_nothing(), sorted(rows, key=itemgetter("id")))


@cache  # building the statement takes longer than executing it
def _insert(dialect: str, clock: ColumnElement[float]) -> Any:
    """Return the statement of `add_rows`."""
    given = [column(name, tasks.c[name].type) for name in COLUMNS]
    seconds = [column(name, Float) for name in ("offset", "delay", "rank")]
    row = rows_of_json(dialect, "rows", *given, *seconds).c
    created_at = clock + row.offset
    due_at = created_at + row.delay
    times = {"created_at": created_at, "due_at": due_at, "position": due_at + row.rank}
    values = {**{name: row[name] for name in COLUMNS}, **times}
    new_rows = select(*values.values()).where(true())  # SQLite needs a WHERE before ON CONFLICT
    statement = insert_into(tasks, dialect).from_select(list(values), new_rows)
    # To set the id would wait for transactions that add steps, and they may wait for this one.
    new = {name: statement.excluded[name] for name in tasks.c.keys() if name != "id"}  # noqa: SIM118 - no dict
    return statement.on_conflict_do_update(
        index_elements=[tasks.c.id], set_=new, where=tasks.c.finished_at.is_not(None)
    ).returning(tasks.c.id, case((tasks.c.due_at <= tasks.c.created_at, notification(dialect))))
