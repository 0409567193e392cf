"""The poller: claims what is due in the table and can start here."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from time import monotonic

from ..dispatcher import Dispatcher
from ..info import TaskRecord, TaskState
from ..job import Job
from ..loop import Loop
from .limits import DurableLimits
from .tasks import DurableTasks

WakeUps = Callable[[], AsyncIterator[object]]
"""Gives something, whatever it is, at the start and whenever another process has added a task."""
_PAUSE = 5.0
"""Seconds until a database that could not be listened to is tried again."""
_LOCKED_PAUSE = 0.5
"""Seconds until what another transaction had locked is tried again."""
_MOST_LOCKED = 1000
"""How many of these a claim leaves out, which is told of each."""


class Poller:
    """Polls the table now and then, and whenever there may be something to claim.

    It claims no more than can start at once: what waits in the table may be claimed by a process
    that is less busy.
    """

    def __init__(
        self, durable: DurableTasks, dispatcher: Dispatcher, wake_ups: WakeUps | None
    ) -> None:
        self._durable = durable
        self._dispatcher = dispatcher
        self._wake_ups = wake_ups if durable.claimed else None
        self._claims = True
        self._lacking: dict[str, bool] = {}
        """Which of what a run holds may be lacked by tasks that the last claim has left behind."""
        self.loop = Loop("polling the table of durable tasks", self._poll, durable.poll_interval)

    def start(self) -> None:
        """Begin to poll, and to listen to other processes."""
        self._durable.start(self._dispatcher, self.loop)
        self._dispatcher.run_ended = self._run_ended
        listening = Loop("listening for durable tasks of other processes", self._listen, _PAUSE)
        self._listening = asyncio.create_task(listening.run())

    async def stop(self) -> None:
        """Poll no more, and release what was claimed and has not ended."""
        await asyncio.wait([self._listening])
        await self._durable.stop()

    def stop_claiming(self) -> None:
        """Claim no more; the leases of what was claimed are still renewed."""
        self._claims = False
        self._listening.cancel()

    async def has_work(self) -> bool:
        """Say whether the table holds something that this process may run, or runs."""
        return await self._durable.store.has_work(self._durable.claimed)

    def _run_ended(self, job: Job) -> None:
        """Poll if something may wait for what has become free."""
        held = {"slot": True, "thread": not job.is_async, "limit": job.recorder is not None}
        if any(held[one] for one, lacking in self._lacking.items() if lacking):
            self.loop.wake()

    async def _listen(self) -> None:
        """Poll when another process has added a task, and again when a slot is free."""
        if self._wake_ups is not None:
            async for _ in self._wake_ups():
                self.loop.wake()

    async def _poll(self) -> None:
        try:
            await self._durable.ask()
        finally:  # tasks must run also where counting them takes too long
            locked: set[str] = set()
            while self._claims and len(locked) < _MOST_LOCKED:
                if not (more := await self._claim(locked)):
                    break
                locked |= more  # what is behind them may start
                self.loop.wake_at(monotonic() + _LOCKED_PAUSE)

    async def _claim(self, besides: set[str]) -> set[str]:
        """Begin what can start here; return the ids of tasks that others have locked.

        That may be for hours, if they are gone.
        """
        startable = self._durable.types.startable(self._durable.claimed)
        room, threads = self._room(), self._dispatcher.queue.free_threads
        names = [name for name in startable if threads > 0 or self._durable.tasks[name].is_async]
        # Perhaps a limit, until the table has told: it may become free meanwhile.
        self._lacking = {"slot": room <= 0, "thread": len(names) < len(startable), "limit": True}
        if room <= 0 or not names:
            return set()
        besides = besides | self._durable.recorder.held.keys()
        limits = DurableLimits(self._durable.tasks, threads)
        claim = await self._durable.store.claim_due(names, room, besides, limits)
        self.loop.wake_at(monotonic() + limits.next_start)
        self._begin(claim.tasks)
        if claim.tasks and claim.more:
            self.loop.wake()  # those behind some that are at their limit now, if a slot is left
        left = self._durable.backlog = max(self._durable.backlog - len(claim.tasks), 0)
        # Perhaps one that is held here: its key has begun it anew before its end was noted.
        self._lacking["limit"] = claim.more or left > 0
        return claim.locked

    def _begin(self, claimed: Iterable[TaskRecord]) -> None:
        """Let what was claimed wait for its turn here."""
        for record in claimed:
            job = self._durable.job(record, self._durable.recorder)
            if self._claims:  # or a shutdown has begun meanwhile, which releases what is held
                self._dispatcher.enqueue(job)

    def _room(self) -> int:
        """Return how many tasks a claim may begin."""
        slots, queue = self._dispatcher.free_slots, self._dispatcher.queue
        if slots > 0 or not queue:
            return slots
        # Tasks in memory keep every slot busy. One from the table waits among them for its turn.
        held = self._durable.recorder.held.values()
        waiting = {job.name for job in held if job.state is TaskState.QUEUED}
        return 0 if waiting - queue.paused else 1
