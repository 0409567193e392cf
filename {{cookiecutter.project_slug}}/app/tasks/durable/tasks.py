"""What all engines share about durable tasks; how due ones are started is up to each engine."""

import asyncio
import logging
from collections.abc import Awaitable, Collection, Iterable
from secrets import token_hex
from time import monotonic
from typing import Any

from ..arguments import Arguments
from ..context import Propagator
from ..dispatcher import Dispatcher
from ..errors import QueueFull, UnknownTaskError
from ..info import TaskRecord
from ..job import Job, Recorder, Stop
from ..limits import Capacity
from ..loop import Loop
from ..options import Options, Submission
from ..settings import TaskSettings
from ..task import Task
from ..task_types import TaskTypes
from .leases import Leases
from .outbox import Entry, outbox_of, session_of_submission
from .periodic import DurablePeriodicTasks
from .reader import Sessions
from .recorder import RECOUNT, DurableRecorder
from .row import job_of, new_row
from .store import TaskStore

logger = logging.getLogger(__name__)


class DurableTasks:
    """Adds tasks to transactions, makes jobs of claimed rows, and runs the loops of the table."""

    def __init__(
        self,
        settings: TaskSettings,
        tasks: Iterable[Task[..., Any]],
        types: TaskTypes,
        sessions: Sessions,
        propagator: Propagator,
        capacity: Capacity,
    ) -> None:
        self.tasks = {task.name: task for task in tasks if task.durable}
        self.claimed = settings.claimed(self.tasks)
        self.types = types
        self.store = TaskStore(sessions, token_hex(16), settings.lease)
        self.recorder = DurableRecorder(self.store, self.tasks, settings.aging, self.expect)
        self.poll_interval = min(settings.sweep_interval, settings.lease / 4)
        self._settings = settings
        self._propagator = propagator
        self.capacity = capacity
        self.backlog = 0
        """About how many tasks are due and free, up to the size of the queue."""
        self._added = 0
        self._count_at = 0.0
        """When the backlog is counted again (`time.monotonic()`)."""

    def start(self, dispatcher: Dispatcher, loop: Loop) -> None:
        """Start the engine's `loop` for due tasks, and the loops for leases and periodic tasks."""
        self._dispatcher = dispatcher
        self.loop = loop
        self.types.changed = lambda: self.expect(RECOUNT)
        self._leases = Leases(self._settings, self.store, self.recorder, dispatcher)
        self._loops = [loop, self._leases.loop]
        if self._settings.periodic:
            periodic = DurablePeriodicTasks(self.tasks, self.store, self.expect, self._settings)
            self._loops.append(periodic.loop)
        self._running = [asyncio.create_task(each.run()) for each in self._loops]

    async def stop(self) -> None:
        """Stop the loops, and requeue the tasks that were claimed here and have not ended."""
        for loop in self._loops:
            loop.stop()
        await asyncio.wait(self._running)
        await self.types.stop()
        held = self.recorder.held
        try:
            if held:
                await self.store.requeue(list(held), None)
        except Exception:
            logger.exception("%d tasks not requeued: they wait until their leases end", len(held))
        held.clear()

    def reserve(
        self, task: Task[..., Any], arguments: Arguments, options: Options, *, even_if_full: bool
    ) -> Submission:
        """Add a call to the outbox of the current session, and reserve capacity until its commit.

        Raises UnknownTaskError if the runner does not know the task, ValueError if the call has its
        own `retry`, OutsideTransactionError outside a session, and QueueFull unless `even_if_full`.
        """
        _check(task, options, self.tasks)
        session = session_of_submission(task.name)
        row = new_row(task, arguments, options, self._propagator.inject(), self._settings.aging)
        # Rows that are not committed yet have reserved their capacity; the backlog has the others.
        if not self.capacity.reserve(waiting_elsewhere=self.backlog, even_if_full=even_if_full):
            raise QueueFull(task.name, self.capacity.limit)
        entry = _Submitted(row, self)
        outbox_of(session).add(session, entry)
        # A release enqueues, too: a committed task runs even if the request has failed since.
        return Submission(row["id"], entry.enqueue, release=entry.enqueue)

    def job(self, record: TaskRecord, recorder: Recorder) -> Job:
        """Return the job of a row that was just claimed; from now on its lease is renewed."""
        task = self.tasks[record.name]
        job = job_of(record, task, self._settings, self._propagator)
        job.recorder = recorder
        self.recorder.held[job.id] = job
        return job

    async def cancel(self, task_id: str) -> bool:
        """Cancel a task, whichever process has it; False if it is unknown or has ended."""
        if not await self.recorder.cancel(task_id):
            return False
        self._dispatcher.cancel(task_id, Stop.LOST)
        self.expect(RECOUNT)  # the task's limit is free, even if its thread goes on
        return True

    async def wake_after(self, change: Awaitable[int]) -> int:
        """Await a change of the table, wake the loop if it made tasks due, and return how many."""
        if number := await change:
            self.expect(0.0)
        return number

    def expect(self, delay: float) -> None:
        """Note that a task is due in `delay` seconds, and wake the loop if that is now."""
        self.note(delay)
        if delay <= 0:
            self.loop.wake()

    def note(self, delay: float) -> None:
        """Add a due task to the backlog; count the backlog again when a delayed one is due."""
        if delay > 0:
            self._count_at = min(self._count_at, monotonic() + delay)
            self.loop.wake_at(self._count_at)
            return
        self.backlog += 1
        self._added += 1
        if self._added % max(self._settings.queue_size // 4, 1) == 0:
            self._count_at = 0.0  # other processes may have claimed some of them

    async def update_backlog(self) -> None:
        """Count the backlog if it is time to, and wake the loop when it is time again."""
        if monotonic() >= self._count_at:
            await self._count()
        self.loop.wake_at(self._count_at)

    async def _count(self) -> None:
        self._count_at, added = monotonic() + self.poll_interval, self._added
        names, claimed = self.types.startable(self.tasks), self.types.startable(self.claimed)
        due, seconds = await self.store.backlog(names, claimed, self._settings.queue_size)
        self._count_at = min(self._count_at, monotonic() + seconds)
        # Tasks added meanwhile may be in the count or not: between both the old number is kept.
        self.backlog = min(max(self.backlog, due), due + self._added - added)


class _Submitted(Entry):
    """A submitted durable task, and the capacity that is reserved for it until its commit.

    The row alone decides whether the task runs. This wakes the loop once the row is committed and
    the submitter is done as well: in a request, when the response has been sent.
    """

    def __init__(self, row: dict[str, Any], durable: DurableTasks) -> None:
        super().__init__(row)
        self._durable = durable
        self._pending_events = 2  # the commit, and the submitter's `enqueue` or `release`

    def ended(self, *, committed: bool) -> None:
        self._durable.capacity.release()
        if committed:
            self._durable.note(self.row["delay"]())
            self.enqueue()

    def enqueue(self) -> None:
        self._pending_events -= 1
        if self._pending_events == 0:
            self._durable.loop.wake()


def _check(task: Task[..., Any], options: Options, known: Collection[str]) -> None:
    if task.name not in known:
        msg = (
            f"the runner does not know the durable task {task.name}:"
            " list it in the `tasks` of its feature"
        )
        raise UnknownTaskError(msg)
    if options.retry is not None:
        msg = "a durable task may run in another process: give its `retry` to @task(...)"
        raise ValueError(msg)
