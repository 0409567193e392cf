"""Durable tasks on workers: the table has the task, a message tells a worker that it is due."""

import asyncio
import logging
import os
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

from redis.exceptions import RedisError

from ..arguments import Arguments
from ..dispatcher import Dispatcher
from ..durable.leases import Leases
from ..durable.periodic import DurablePeriodicTasks
from ..durable.recorder import DurableRecorder
from ..durable.row import RowReader
from ..durable.store import Sessions, TaskStore
from ..durable.submission import DurableSubmission, DurableSubmissions
from ..job import Job, Stop
from ..limits import Capacity
from ..options import Options
from ..propagation import Propagator
from ..settings import TaskSettings
from ..task import Task
from .execution import Delivery, Limits
from .publisher import Publisher
from .relay import Announcements, Relay

logger = logging.getLogger(__name__)

_PAUSE = 1.0
"""Seconds until a task is tried again whose limits cannot be read."""


class CeleryDurableTasks:
    """Adds durable tasks to the transactions of their submitters, announces and runs them."""

    def __init__(
        self,
        settings: TaskSettings,
        tasks: Iterable[Task[..., Any]],
        sessions: Sessions,
        propagator: Propagator,
        capacity: Capacity,
        limits: Limits,
        publisher: Publisher,
    ) -> None:
        self._settings = settings
        self._limits = limits
        by_name = {task.name: task for task in tasks if task.durable}
        self.store = TaskStore(sessions, os.urandom(16).hex(), settings.lease)
        self._recorder = DurableRecorder(self.store, by_name, settings.aging)
        self._recorder.added = self.announce_in
        self._reader = RowReader(by_name, settings, limits.own, propagator)
        self._announcements = Announcements(self.store, by_name, settings.lease)
        self.relay = Relay(self.store, self._announcements, publisher, by_name, settings)
        self._submissions = DurableSubmissions(
            by_name, propagator, capacity, self.relay, settings.aging
        )
        self._periodic = DurablePeriodicTasks(
            by_name.values(), self.store, self.relay.expect, settings
        )

    def start(self, dispatcher: Dispatcher) -> None:
        """Begin to announce what is due, and to renew leases."""
        self._dispatcher = dispatcher
        leases = Leases(self._settings, self.store, self._recorder, dispatcher)
        self._loops = [self.relay.loop, leases.loop, self._periodic.loop]
        self._running = [asyncio.create_task(loop.run()) for loop in self._loops]

    async def stop(self) -> None:
        """Stop the loops, and release what was claimed and has not ended."""
        for loop in self._loops:
            loop.stop()
        await asyncio.wait(self._running)
        try:
            if self._recorder.held:
                await self.store.release(list(self._recorder.held))
        except Exception:
            logger.exception("%d tasks wait for the end of their lease", len(self._recorder.held))
        self._recorder.held.clear()

    def reserve(
        self, task: Task[..., Any], arguments: Arguments, options: Options, *, regardless: bool
    ) -> DurableSubmission:
        """Make a call a row; see `DurableSubmissions.reserve`."""
        return self._submissions.reserve(task, arguments, options, regardless=regardless)

    async def run(self, task_id: str) -> None:
        """Run a task here once, unless somebody else has it, or its limits have no room.

        Nothing is left to do then: the row says when it is due, and will be announced.
        """
        claimed = await self._announcements.claim(task_id)
        if claimed is None:
            return
        record, due_for = claimed
        delivery = Delivery(self._recorder.record)
        job = self._reader.job(record, delivery, due_for)
        self._limits.apply_to(job)
        self._recorder.held[job.id] = job  # from here on its lease is renewed
        async with AsyncExitStack() as stack:
            pause = await self._pause_before(job, stack)
            if pause:
                await self._postpone(job, pause)
                return
            self._dispatcher.enqueue(job)
            await delivery.end

    async def cancel(self, task_id: str) -> bool:
        """Cancel a task, whichever process has it; False if it is unknown or has ended."""
        if not await self._recorder.cancel(task_id):
            return False
        self._dispatcher.cancel(task_id, Stop.LOST)
        return True

    async def retry(self, task_id: str) -> bool:
        """Let a task that ended without success start over; False if it is not one."""
        retried = await self.store.retry(task_id)
        if retried:
            self.announce_in(0.0)
        return retried

    def announce_in(self, seconds: float) -> None:
        """Announce what is due in so many seconds; whoever sees it first does."""
        self.relay.expect(seconds)
        if seconds <= 0:
            self.relay.loop.wake()

    async def _pause_before(self, job: Job, stack: AsyncExitStack) -> float:
        try:
            return await self._limits.enter(job.task, stack)
        except (OSError, RedisError):
            logger.exception("the limits of task %s (%s) cannot be read", job.name, job.id)
            return _PAUSE

    async def _postpone(self, job: Job, seconds: float) -> None:
        self._recorder.held.pop(job.id, None)
        await self._announcements.postpone(job.id, seconds)
        self.announce_in(seconds)
