"""The durable tasks of an engine: builds the parts, and starts and stops them."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any

from ..arguments import Arguments
from ..dispatcher import Dispatcher
from ..info import TaskState
from ..job import Stop
from ..limits import Capacity, Limiters
from ..options import Options
from ..propagation import Propagator
from ..settings import TaskSettings
from ..task import Task
from .leases import Leases
from .loop import Loop
from .periodic import DurablePeriodicTasks
from .poller import Poller
from .reader import Sessions
from .recorder import DurableRecorder
from .row import RowReader
from .shared_types import SharedTaskTypes
from .store import TaskStore
from .submission import Backlog, DurableSubmission, DurableSubmissions

logger = logging.getLogger(__name__)

WakeUps = Callable[[], AsyncIterator[object]]
"""Gives something, whatever it is, at the start and whenever another process has added a task."""
_PAUSE = 5.0
"""Seconds until a database that could not be listened to is tried again."""
_SOON = 0.001
"""Seconds until the table is asked again what is due, after other tasks may start."""


class DurableTasks:
    """Adds durable tasks to the transactions of their submitters, and keeps what runs here.

    Who finds out what is due is a matter of the engine.
    """

    def __init__(
        self,
        settings: TaskSettings,
        tasks: Iterable[Task[..., Any]],
        sessions: Sessions,
        propagator: Propagator,
        capacity: Capacity,
        types: SharedTaskTypes,
    ) -> None:
        self._settings = settings
        self._tasks = {task.name: task for task in tasks if task.durable}
        self._claimed = settings.claimed(self._tasks)
        self._propagator = propagator
        self._capacity = capacity
        self._types = types
        self.store = TaskStore(sessions, os.urandom(16).hex(), settings.lease)
        self._recorder = DurableRecorder(self.store, self._tasks, settings.aging)

    def _begin(self, dispatcher: Dispatcher, backlog: Backlog) -> None:
        """Let `backlog` see to what is due, and renew leases."""
        self._dispatcher = dispatcher
        self._backlog = backlog
        self._submissions = DurableSubmissions(
            self._tasks, self._propagator, self._capacity, backlog, self._settings.aging
        )
        self._recorder.added = self._expect
        self._types.changed = partial(backlog.expect, _SOON)
        self._leases = Leases(self._settings, self.store, self._recorder, dispatcher)
        periodic = DurablePeriodicTasks(
            self._tasks.values(), self.store, backlog.expect, self._settings
        )
        self._loops = [backlog.loop, self._leases.loop, periodic.loop]
        self._running = [asyncio.create_task(loop.run()) for loop in self._loops]

    async def stop(self) -> None:
        """Stop the loops, and release what was claimed and has not ended."""
        for loop in self._loops:
            loop.stop()
        await asyncio.wait(self._running)
        await self._types.stop()
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
            self._expect(0.0)
        return retried

    async def retry_all(self, state: TaskState, name: str | None) -> int:
        """Let all tasks in a state without success, perhaps of one name, start over."""
        number = await self.store.retry_all(state, name)
        if number:
            self._expect(0.0)
        return number

    def _expect(self, delay: float) -> None:
        self._backlog.expect(delay)
        if delay <= 0:
            self._backlog.loop.wake()


class PolledTasks(DurableTasks):
    """Runs here what is due in the table."""

    def start(self, dispatcher: Dispatcher, limiters: Limiters, wake_ups: WakeUps | None) -> None:
        """Begin to claim tasks from the table."""
        reader = RowReader(self._tasks, self._settings, limiters, self._propagator)
        self._poller = Poller(
            self.store,
            self._recorder,
            dispatcher,
            self._tasks,
            {name: limiters.of_threads(self._tasks[name]) for name in self._claimed},
            self._types,
            lambda record, due_for: reader.job(record, self._recorder, due_for),
            self._settings,
        )
        dispatcher.run_ended = self._poller.run_ended
        self._begin(dispatcher, self._poller)
        self._listening: asyncio.Task[None] | None = None
        if wake_ups is not None and self._claimed:
            self._listening = asyncio.create_task(self._listener(wake_ups).run())
            self._running.append(self._listening)

    def stop_claiming(self) -> None:
        """Claim no more; the leases of what was claimed are still renewed."""
        self._poller.claims = False
        if self._listening is not None:
            self._listening.cancel()

    async def has_work(self) -> bool:
        """Say whether the table holds something that this process may run, or runs."""
        return await self.store.has_work(self._claimed)

    async def next_poll(self) -> None:
        """Wait until the table has been polled once more."""
        await self._poller.loop.next_step()

    def _listener(self, wake_ups: WakeUps) -> Loop:
        async def listen() -> None:
            async for _ in wake_ups():
                self._poller.wake()

        return Loop("listening for durable tasks of other processes", listen, _PAUSE)
