"""The outbox: durable tasks submitted in a session become rows of its transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from operator import itemgetter
from typing import Any, ParamSpec
from weakref import WeakKeyDictionary

from sqlalchemy import bindparam, case, delete, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from ..errors import OutsideTransactionError
from ..info import TaskState
from ..options import NO_OPTIONS
from ..settings import TaskSettings
from ..task import Task
from .dialect import clock_of, dialect_of, insert_into, notification, now
from .row import new_row
from .table import steps, tasks

P = ParamSpec("P")

_APART = 1e-6
"""Seconds between the rows of one transaction, so that the first of them goes first."""


class Entry:
    """A row to write. Exactly one of `committed` and `rolled_back` is called later."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.savepoints: list[SessionTransaction] = []
        """Those that were open at the submission: the rollback of any takes the row away."""

    def committed(self) -> None:
        """The row is in the table."""

    def rolled_back(self) -> None:
        """It is not; perhaps since a task with the same key waits or runs."""


class Outbox:
    """The durable tasks of one session's transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._listening = False
        self._waiting: list[Entry] = []
        self._written: list[Entry] = []
        event.listen(session, "before_commit", self._before_commit)

    @property
    def is_open(self) -> bool:
        """Whether there still is a transaction that will be committed or rolled back."""
        return self._session.in_transaction()

    def add(self, entry: Entry) -> None:
        """Write a row when the transaction commits, and not at all if it does not."""
        if not self._listening:
            self._listen()
        entry.savepoints = self._savepoints()
        self._waiting.append(entry)

    def _savepoints(self) -> list[SessionTransaction]:
        found = []
        transaction = self._session.get_nested_transaction()
        while transaction is not None:
            if transaction.nested:
                found.append(transaction)
            transaction = transaction.parent
        return found

    def _listen(self) -> None:
        """Follow the session's transaction; most sessions never submit anything."""
        self._listening = True
        event.listen(self._session, "after_commit", self._after_commit)
        event.listen(self._session, "after_soft_rollback", self._after_rollback)
        event.listen(self._session, "after_transaction_end", self._after_end)

    def _before_commit(self, session: Session) -> None:
        if session.in_nested_transaction():
            return  # releasing a savepoint commits nothing yet
        session.flush()  # now, since its hooks may submit tasks, too
        if not self._waiting:
            return
        entries, self._waiting = self._waiting, []
        self._written += entries
        begun = add_rows(session, [entry.row for entry in entries])
        self._written = [entry for entry in entries if entry.row["id"] in begun]
        self._drop([entry for entry in entries if entry.row["id"] not in begun])

    def _after_commit(self, session: Session) -> None:
        if session.in_nested_transaction():
            return
        entries, self._written = self._written, []
        for entry in entries:
            entry.committed()

    def _after_rollback(self, _: Session, rolled_back: SessionTransaction) -> None:
        transaction: SessionTransaction | None = rolled_back
        while transaction is not None and not transaction.nested:
            transaction = transaction.parent  # a flush that fails takes its savepoint with it
        if transaction is not None:
            gone = [entry for entry in self._waiting if transaction in entry.savepoints]
            self._waiting = [entry for entry in self._waiting if entry not in gone]
            self._drop(gone)

    def _after_end(self, _: Session, transaction: SessionTransaction) -> None:
        # Not after_rollback: there is none when the connection is lost, or the session closed.
        if transaction.parent is None:
            gone = self._waiting + self._written
            self._waiting, self._written = [], []
            self._drop(gone)

    def _drop(self, entries: list[Entry]) -> None:
        for entry in entries:
            entry.rolled_back()


current_outbox: ContextVar[Outbox | None] = ContextVar("current_outbox", default=None)
"""The outbox of the session in whose block the code runs."""

_outboxes: WeakKeyDictionary[Session, Outbox] = WeakKeyDictionary()


def outbox_of(session: Session) -> Outbox:
    """Return the outbox of a session."""
    found = _outboxes.get(session)
    if found is None:
        found = _outboxes[session] = Outbox(session)
    return found


def open_outbox(name: str) -> Outbox:
    """Return the outbox of the session in whose block a task is submitted."""
    found = current_outbox.get()
    if found is None or not found.is_open:
        msg = (
            f"the durable task {name} was submitted outside a session: add it in an endpoint"
            " that takes a SessionDep, or inside `async with task_session():`"
        )
        raise OutsideTransactionError(msg)
    return found


@contextmanager
def outbox(session: AsyncSession) -> Iterator[None]:
    """Let durable tasks that are submitted in this block become rows of `session`'s transaction.

    A transaction must have begun when they are; its commit belongs into the block, since hooks of
    the session may submit tasks, too.
    """
    before = current_outbox.get()
    current_outbox.set(outbox_of(session.sync_session))
    try:
        yield
    finally:
        current_outbox.set(before)


def enqueue(
    session: AsyncSession | Session, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
) -> str:
    """Add a durable task to the transaction of a session; return the task's id.

    For scripts, migrations and other services. The task runs after the commit, when a service that
    knows its name next polls the table: within `TASKS_SWEEP_INTERVAL` seconds, or at once if the
    database wakes it. Raises TypeError if `func` is not a durable task, and ArgumentError as
    `TaskEngine.submit` does.
    """
    if not isinstance(func, Task) or not func.durable:
        msg = f"{func!r} is not a durable task: decorate it with @task(durable=True)"
        raise TypeError(msg)
    sync_session = session.sync_session if isinstance(session, AsyncSession) else session
    if not sync_session.in_transaction():
        sync_session.begin()  # or its rollback would not take the task away
    row = new_row(func, func.check_arguments(args, kwargs), NO_OPTIONS, {}, TaskSettings().aging)
    outbox_of(sync_session).add(Entry(row))
    task_id: str = row["id"]
    return task_id


def add_rows(session: Session, rows: list[dict[str, Any]]) -> set[str]:
    """Insert rows, see `row.new_row`, that are due after their delay from now on.

    A row whose id is that of a key stands for all calls with the key: while it waits or runs
    nothing is inserted, and when it has ended it begins anew, without the steps that it has taken.
    Returns the ids of the rows that begin.
    """
    unique: dict[str, dict[str, Any]] = {}
    for row in rows:
        unique.setdefault(row["id"], row)
    values = [_values(row, n * _APART) for n, row in enumerate(unique.values())]
    # In one order, so that no two transactions with the same keys wait for each other.
    statement = _adding(dialect_of(session))
    begun = set(session.execute(statement, sorted(values, key=itemgetter("id"))).scalars())
    if keys := [row["id"] for row in rows if row["has_key"] and row["id"] in begun]:
        session.execute(delete(steps).where(steps.c.task_id.in_(keys)))
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
    clock = clock_of(dialect)
    due_at = clock + bindparam("due_in")
    statement = insert_into(tasks, dialect).values(
        state=TaskState.QUEUED,
        attempts=0,
        created_at=clock + bindparam("offset"),
        due_at=due_at,
        position=due_at + bindparam("rank"),
        lease_until=0.0,
    )
    # Not the id: that would wait for steps of the task, and they perhaps for this transaction.
    anew = {name: statement.excluded[name] for name in tasks.c.keys() if name != "id"}  # noqa: SIM118 - no dict
    return statement.on_conflict_do_update(
        index_elements=[tasks.c.id], set_=anew, where=tasks.c.finished_at.is_not(None)
    ).returning(tasks.c.id, case((tasks.c.due_at <= tasks.c.created_at, notification(dialect))))


def _values(row: dict[str, Any], offset: float) -> dict[str, Any]:
    values = {**row, "offset": offset, "due_in": offset + row["delay"]}
    del values["delay"], values["has_key"]
    return values
