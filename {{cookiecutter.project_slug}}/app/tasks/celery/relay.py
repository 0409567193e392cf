"""The relay: tells workers which durable tasks are due.

An announced row is marked, and its mark holds for the time of a lease. It is announced once more
only if the broker is known to have fewer announcements than there are marked rows.
"""

from collections.abc import Collection
from functools import lru_cache
from time import monotonic

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update

from ..dispatcher import Dispatcher
from ..durable.dialect import now
from ..durable.due import OPEN, due_from, find_due, still_due
from ..durable.store import TaskStore
from ..durable.table import tasks
from ..durable.tasks import DurableTasks
from ..info import TaskRecord, TaskState
from ..loop import Loop
from .message import Message
from .publisher import Publisher

_ANNOUNCED, _AGAIN = "announced", "announced before"
"""Owners of rows that belong to no process yet."""
_MARKED_AT_ONCE = 100
_ANNOUNCEMENTS = 1000
"""How many the broker gets before workers have taken some: what waits in the table costs less."""
_FULL_PAUSE = 0.5
"""Seconds until the broker is asked again whether there is room."""


class Announcements:
    """What is read from the table of durable tasks and written to it for the sake of messages."""

    def __init__(self, store: TaskStore, mark: float) -> None:
        self.store = store
        self._mark = mark

    async def mark(self, names: Collection[str], limit: int) -> list[tuple[Message, bool]]:
        """Mark the first rows of some tasks that are due and nobody has.

        Returns the message of each, and whether it was announced before.
        """
        async with self.store.sessions() as session:
            clock = now(session)
            ids = [row.id for row in await find_due(session, names, limit)]
            wanted = select(tasks.c.id).where(tasks.c.id.in_(ids), still_due(clock))
            rows = wanted.with_for_update(skip_locked=True).cte("wanted")
            statement = (
                update(tasks)
                .where(tasks.c.id.in_(select(rows.c.id)))
                .values(
                    state=TaskState.QUEUED,
                    owner=case((_is_marked(), _AGAIN), else_=_ANNOUNCED),
                    lease_until=clock + self._mark,
                )
                .returning(*(tasks.c[n] for n in ("id", "name", "priority", "created_at", "owner")))
            )
            marked = await session.execute(statement)
            return [(_message(*values), owner == _AGAIN) for *values, owner in marked]

    async def count(self) -> int:
        """Count the rows that are marked and that no worker has claimed."""
        statement = select(func.count()).where(
            tasks.c.finished_at.is_(None), tasks.c.state == TaskState.QUEUED, _is_marked()
        )
        async with self.store.sessions(read_only=True) as session:
            return (await session.execute(statement)).scalar_one()

    async def claim(self, task_id: str) -> tuple[TaskRecord, float] | None:
        """Begin a task, if it is due and nobody has begun it; the attempt is counted."""
        async with self.store.sessions() as session:
            claimed = await self.store.claim(session, [task_id], _may_begin(now(session)))
        return claimed[0] if claimed else None

    async def postpone(self, task_id: str, seconds: float) -> None:
        """Let a task that was claimed and has not begun be due later; the attempt is not one."""
        async with self.store.sessions() as session:
            mine = and_(tasks.c.id == task_id, tasks.c.owner == self.store.owner)
            statement = (
                update(tasks)
                .where(mine, tasks.c.state.in_(OPEN))
                .values(
                    state=TaskState.QUEUED,
                    owner=None,
                    lease_until=0.0,
                    **due_from(now(session) + seconds),
                    attempts=tasks.c.attempts - 1,
                )
            )
            await session.execute(statement)


class Relay:
    """Announces what is due, also what another process has left behind."""

    def __init__(
        self, announcements: Announcements, durable: DurableTasks, publisher: Publisher
    ) -> None:
        self._announcements = announcements
        self._durable = durable
        self._publisher = publisher
        self.loop = Loop("announcing durable tasks", self._step, durable.poll_interval)

    def start(self, dispatcher: Dispatcher) -> None:
        """Begin to announce."""
        self._backlog = self._durable.start(dispatcher, self.loop)

    async def has_work(self) -> bool:
        """Say whether a task is due and not announced."""
        return await self._durable.store.count_due(self._names(), at_most=1) > 0

    def _names(self) -> list[str]:
        """Return of which tasks something may start now."""
        return self._durable.types.startable(self._durable.tasks)

    async def _step(self) -> None:
        if self._publisher.available:
            await self._announce()
        await self._backlog.ask()

    async def _announce(self) -> None:
        depth = await self._publisher.announced()
        room = 0 if depth is None else min(_ANNOUNCEMENTS - depth, _MARKED_AT_ONCE)
        if room <= 0:
            self.loop.wake_at(monotonic() + _FULL_PAUSE)
            return
        marked = await self._announcements.mark(self._names(), room)
        for message in await self._worth_sending(marked):
            self._publisher.put(message)
        if len(marked) == room:
            self._backlog.size = max(self._backlog.size - room, 1)
            self.loop.wake()
        else:
            self._backlog.size = 0

    async def _worth_sending(self, marked: list[tuple[Message, bool]]) -> list[Message]:
        """Leave out what was announced before, unless the broker has lost some of that."""
        new = [message for message, again in marked if not again]
        before = [message for message, again in marked if again]
        if not before:
            return new
        known = await self._publisher.announced()
        if known is None:
            return new
        missing = await self._announcements.count() - len(new) - known
        return new + before[: max(missing, 0)]


@lru_cache  # the statement that claims is built once for it
def _may_begin(clock: ColumnElement[float]) -> ColumnElement[bool]:
    announced = and_(tasks.c.state == TaskState.QUEUED, _is_marked(), tasks.c.due_at <= clock)
    return or_(still_due(clock), announced)


def _is_marked() -> ColumnElement[bool]:
    return tasks.c.owner.in_((_ANNOUNCED, _AGAIN))


def _message(task_id: str, name: str, priority: int, created_at: float) -> Message:
    known = min(max(priority, 0), 9)  # another release may know more of them
    return Message(id=task_id, name=name, priority=known, durable=True, created_at=created_at)
