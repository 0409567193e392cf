"""Durable tasks on workers: the table has the task, a message tells a worker that it is due."""

import logging
from contextlib import AsyncExitStack

from redis.exceptions import RedisError

from ..dispatcher import Dispatcher
from ..durable.tasks import DurableTasks
from ..job import Job
from ..settings import TaskSettings
from .execution import Delivery, Limits
from .publisher import Publisher
from .relay import Announcements, Relay

logger = logging.getLogger(__name__)

_PAUSE = 1.0
"""Seconds until a task is tried again whose limits cannot be read."""


class AnnouncedTasks:
    """Announces what is due in the table, and runs on a worker what was announced."""

    def __init__(
        self,
        durable: DurableTasks,
        dispatcher: Dispatcher,
        publisher: Publisher,
        limits: Limits,
        settings: TaskSettings,
    ) -> None:
        self._durable = durable
        self._dispatcher = dispatcher
        self._limits = limits
        self._announcements = Announcements(durable.store, settings.lease)
        self.relay = Relay(self._announcements, durable, publisher)

    def start(self) -> None:
        """Begin to announce."""
        self.relay.start(self._dispatcher)

    async def run(self, task_id: str) -> None:
        """Run a task here once, unless somebody else has it, or its limits have no room.

        Nothing is left to do then: the row says when it is due, and will be announced.
        """
        if task_id in self._durable.recorder.held:  # it runs here, whatever became of its lease
            return
        claimed = await self._announcements.claim(task_id)
        if claimed is None:
            return
        record, due_for = claimed
        delivery = Delivery(self._durable.recorder.record)
        job = self._durable.job(record, delivery, due_for)
        self._limits.apply_to(job, record.limit_group)
        self._durable.recorder.held[job.id] = job  # from here on its lease is renewed
        if job.name in self._dispatcher.queue.paused:
            await self._postpone(job, 0.0)
            return
        async with AsyncExitStack() as stack:
            pause = await self._pause_before(job, record.limit_group, stack)
            if pause:
                await self._postpone(job, pause)
                return
            self._dispatcher.enqueue(job)
            await delivery.end

    async def _pause_before(self, job: Job, group: str, stack: AsyncExitStack) -> float:
        try:
            return await self._limits.enter(job.task, group, stack)
        except (OSError, RedisError):
            logger.exception("the limits of task %s (%s) cannot be read", job.name, job.id)
            return _PAUSE

    async def _postpone(self, job: Job, seconds: float) -> None:
        self._durable.recorder.held.pop(job.id, None)
        await self._announcements.postpone(job.id, seconds)
        self._durable.expect(seconds)
