"""Durable tasks on workers: the table has the task, and a message announces that it is due.

An announced row gets a lease. If no worker claims it by then, it is announced again, with a lease
as long as the time since it became due. So a broker that loses all messages loses no task, and one
whose messages no worker takes does not fill up.
"""

import asyncio
from collections.abc import Collection
from functools import lru_cache
from time import monotonic
from typing import NoReturn

from celery.exceptions import Ignore
from sqlalchemy import ColumnElement, and_, case, or_, select, update

from ..dispatcher import Dispatcher
from ..durable.dialect import now
from ..durable.due import find_due, still_due
from ..durable.table import tasks
from ..durable.tasks import DurableTasks
from ..info import TaskRecord, TaskState
from ..job import Job, Stop
from ..loop import Loop
from ..redaction import describe_error
from .execution import Delivery, TaskFailed
from .limits import WorkerLimits
from .message import Message
from .publisher import Publisher

_ANNOUNCED = "announced"
"""The owner of rows that were announced and that no worker has claimed."""
_MARKED_AT_ONCE = 100
_MOST_ANNOUNCED = 1000
"""The most announcements that the broker gets: tasks that wait in the table cost less."""
_FULL_PAUSE = 0.5
"""Seconds until the broker is asked again whether it has room for announcements."""

_NOT_ENDED = "the task has not ended here"
"""For Celery and Flower, to which the message is neither a success nor a failure then."""


class AnnouncedTasks:
    """Announces due tasks of the table, and runs announced ones on a worker."""

    def __init__(
        self,
        durable: DurableTasks,
        dispatcher: Dispatcher,
        publisher: Publisher,
        limits: WorkerLimits,
    ) -> None:
        self._durable = durable
        self._store = durable.store
        self._dispatcher = dispatcher
        self._publisher = publisher
        self._limits = limits
        self._announcing = asyncio.Lock()
        self.loop = Loop("announcing durable tasks", self._step, durable.poll_interval)
        durable.start(dispatcher, self.loop)

    async def has_work(self) -> bool:
        """Say whether a task is due and has not been announced."""
        async with self._announcing:
            number, _ = await self._store.backlog(self._names(), (), at_most=1)
        return number > 0

    async def run(self, task_id: str) -> None:
        """Run a task here once, unless another process has it or its limits have no room.

        Raises TaskFailed if it has failed, and Ignore if it has not ended here: whenever its row is
        due again, it is announced again.
        """
        if task_id in self._durable.recorder.held:  # it runs here, whatever became of its lease
            raise Ignore(_NOT_ENDED)
        async with self._store.sessions() as session:
            claimed = await self._store.claim(session, [task_id], _is_claimable(now(session)))
        if not claimed:
            raise Ignore(_NOT_ENDED)
        await self._run(claimed[0])

    async def _run(self, record: TaskRecord) -> None:
        delivery = Delivery(self._durable.recorder.record)
        job = self._durable.job(record, delivery)
        job.limit_group = record.limit_group
        if job.name in self._dispatcher.queue.paused:
            await self._postpone(job, 0.0)
        async with self._limits.slot(job) as pause:
            if pause:
                await self._postpone(job, pause)
            self._dispatcher.enqueue(job)
            state = await delivery.end
        if state is TaskState.QUEUED or job.stop in (Stop.SHUTDOWN, Stop.LOST):
            raise Ignore(_NOT_ENDED)
        if job.error is not None:
            raise TaskFailed(describe_error(job.error))

    async def _postpone(self, job: Job, seconds: float) -> NoReturn:
        """Requeue a claimed task that has not started; its attempt is not counted."""
        self._durable.recorder.held.pop(job.id, None)
        await self._store.requeue([job.id], seconds)
        self._durable.expect(seconds)
        raise Ignore(_NOT_ENDED)

    def _names(self) -> list[str]:
        """Return the names of the tasks that are not paused."""
        return self._durable.types.startable(self._durable.tasks)

    async def _step(self) -> None:
        try:
            await self._durable.update_backlog()  # first: tasks due by its end are announced
        finally:  # tasks must run even if counting them takes too long
            if self._publisher.available:
                async with self._announcing:
                    await self._announce()

    async def _announce(self) -> None:
        depth = await self._publisher.announced()
        room = 0 if depth is None else min(_MOST_ANNOUNCED - depth, _MARKED_AT_ONCE)
        if room <= 0:
            self.loop.wake_at(monotonic() + _FULL_PAUSE)
            return
        marked = await self._mark(self._names(), room)
        await self._publisher.announce(marked)
        if len(marked) == room:
            self._durable.backlog = max(self._durable.backlog - room, 1)
            self.loop.wake()
        else:
            self._durable.backlog = 0

    async def _mark(self, names: Collection[str], limit: int) -> list[Message]:
        """Mark the first due rows of `names` as announced; return their messages."""
        async with self._store.sessions() as session:
            clock, lease = now(session), self._store.lease
            ids = [row.id for row in await find_due(session, names, limit)]
            wanted = select(tasks.c.id).where(tasks.c.id.in_(ids), still_due(clock))
            locked = wanted.with_for_update(skip_locked=True).cte("wanted")
            overdue = clock - tasks.c.due_at
            statement = (
                update(tasks)
                .where(tasks.c.id.in_(select(locked.c.id)))
                .values(
                    state=TaskState.QUEUED,
                    owner=_ANNOUNCED,
                    lease_until=clock + case((tasks.c.owner == _ANNOUNCED, overdue), else_=lease),
                )
                .returning(*(tasks.c[name] for name in ("id", "name", "priority", "created_at")))
            )
            rows = await session.execute(statement)
            return [Message(**row._asdict(), durable=True) for row in rows]


@lru_cache  # one condition for each clock, so that the statement of the claim is built once
def _is_claimable(clock: ColumnElement[float]) -> ColumnElement[bool]:
    announced = and_(
        tasks.c.state == TaskState.QUEUED, tasks.c.owner == _ANNOUNCED, tasks.c.due_at <= clock
    )
    return or_(still_due(clock), announced)
