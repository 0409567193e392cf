"""The poller: claims due tasks from the table that can start in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

from ..dispatcher import Dispatcher
from ..info import TaskState
from ..job import Job
from ..loop import Loop
from .limits import DurableLimits
from .tasks import DurableTasks

WakeUps = Callable[[], AsyncIterator[object]]
"""Yields at the start and whenever another process has added a task; the value has no meaning."""
_LISTEN_PAUSE = 5.0
"""Seconds until the process listens again after it lost the database."""
_LOCKED_PAUSE = 0.5
"""Seconds until tasks that another transaction had locked are tried again."""
_MOST_LOCKED = 1000
"""Locked tasks that a poll passes over at most: each claim sends all their ids to the database."""


class Poller:
    """Polls the table at an interval, and whenever there may be a task to claim.

    It claims no more than can start at once: tasks that stay in the table can be claimed by a
    process that is less busy.
    """

    def __init__(
        self, durable: DurableTasks, dispatcher: Dispatcher, wake_ups: WakeUps | None
    ) -> None:
        self._durable = durable
        self._dispatcher = dispatcher
        self._wake_ups = wake_ups if durable.claimed else None
        self._claims = True
        self._short_of: dict[str, bool] = {}
        """What the tasks that the last claim has left in the table may be waiting for."""
        self.loop = Loop("polling the table of durable tasks", self._poll, durable.poll_interval)

    def start(self) -> None:
        """Start to poll, and to listen to other processes."""
        self._durable.start(self._dispatcher, self.loop)
        self._dispatcher.run_ended = self._run_ended
        name = "listening for durable tasks of other processes"
        self._listening = asyncio.create_task(Loop(name, self._listen, _LISTEN_PAUSE).run())

    async def stop(self) -> None:
        """Stop polling, and requeue the tasks that were claimed and have not ended."""
        await asyncio.wait([self._listening])
        await self._durable.stop()

    def stop_claiming(self) -> None:
        """Claim no more tasks; the leases of those already claimed are still renewed."""
        self._claims = False
        self._listening.cancel()

    async def has_work(self) -> bool:
        """Say whether the table has a task that this process may run, or runs."""
        while True:
            polled = self.loop.stepped
            has_work = await self._durable.store.has_work(self._durable.claimed)
            if not (has_work and polled.is_set()):  # a poll meanwhile may have changed the answer
                return has_work

    def _run_ended(self, job: Job) -> None:
        """Poll if a task may be waiting for what this run has freed."""
        freed = {"slot": True, "thread": not job.is_async, "limit": job.recorder is not None}
        if any(freed[resource] for resource, short in self._short_of.items() if short):
            self.loop.wake()

    async def _listen(self) -> None:
        """Poll when another process has added a task."""
        if self._wake_ups is not None:
            async for _ in self._wake_ups():
                self.loop.wake()

    async def _poll(self) -> None:
        try:
            await self._durable.update_backlog()
        finally:  # tasks must run even if counting them takes too long
            locked: set[str] = set()
            while self._claims and len(locked) < _MOST_LOCKED:
                if not (more := await self._claim(exclude=locked)):
                    break
                locked |= more  # tasks behind these may start
                self.loop.wake_at(monotonic() + _LOCKED_PAUSE)

    async def _claim(self, exclude: set[str]) -> set[str]:
        """Claim and enqueue what can start here; return the ids of tasks that others have locked.

        A lock may last for hours if the machine of its process is gone.
        """
        startable = self._durable.types.startable(self._durable.claimed)
        room, threads = self._room(), self._dispatcher.queue.free_threads
        names = [name for name in startable if threads > 0 or self._durable.tasks[name].is_async]
        # During the claim, assume that tasks wait for a limit: a run may end meanwhile.
        self._short_of = {"slot": room <= 0, "thread": len(names) < len(startable), "limit": True}
        if room <= 0 or not names:
            return set()
        exclude = exclude | self._durable.recorder.held.keys()
        limits = DurableLimits(self._durable.tasks, threads)
        claim = await self._durable.store.claim_due(names, room, exclude, limits)
        self.loop.wake_at(monotonic() + limits.next_start)
        for record in claim.tasks:
            job = self._durable.job(record, self._durable.recorder)
            if self._claims:  # a shutdown that has begun meanwhile requeues it
                self._dispatcher.enqueue(job)
        if claim.tasks and claim.more:
            self.loop.wake()  # if a slot is left, tasks behind those now at their limit may start
        remaining = self._durable.backlog = max(self._durable.backlog - len(claim.tasks), 0)
        # A remaining task may be one that was excluded: its key was added again as its run ended.
        self._short_of["limit"] = claim.more or remaining > 0
        return claim.locked

    def _room(self) -> int:
        """Return how many tasks a claim may take."""
        slots, queue = self._dispatcher.free_slots, self._dispatcher.queue
        if slots > 0 or not queue:
            return slots
        # In-memory tasks keep every slot busy: one durable task at a time waits among them.
        held = self._durable.recorder.held.values()
        waiting = {job.name for job in held if job.state is TaskState.QUEUED}
        return 0 if waiting - queue.paused else 1
