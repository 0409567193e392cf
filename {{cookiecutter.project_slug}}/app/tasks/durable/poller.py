"""The poller: claims what is due in the table and can start here."""

import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from ..dispatcher import Dispatcher
from ..info import TaskRecord, TaskState
from ..job import Job
from ..limits import Limiter
from ..settings import TaskSettings
from ..task import Task
from .limits import DurableLimits
from .loop import Loop
from .recorder import DurableRecorder
from .shared_types import SharedTaskTypes
from .store import TaskStore


class Poller:
    """Polls the table now and then, and whenever there may be something to claim.

    It claims no more than can start at once: what waits in the table may be claimed by a process
    that is less busy. `limiters` has the tasks to claim; what waits is counted of all `names`.
    """

    def __init__(
        self,
        store: TaskStore,
        recorder: DurableRecorder,
        dispatcher: Dispatcher,
        tasks: Mapping[str, Task[..., Any]],
        limiters: Mapping[str, tuple[Limiter, ...]],
        types: SharedTaskTypes,
        make_job: Callable[[TaskRecord, float], Job],
        settings: TaskSettings,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._dispatcher = dispatcher
        self._tasks = tasks
        self._limiters = limiters
        self._limits = DurableLimits(tasks.values())
        self._types = types
        self._make_job = make_job
        self._pause = min(settings.sweep_interval, settings.lease / 4)
        self._countable = settings.queue_size
        self._recount = max(settings.queue_size // 4, 1)
        """After how many that it has added it counts again: others may have taken some."""
        self._latest: Job | None = None
        self._ask_at = 0.0
        """When to ask the table again what waits there, and when the next is due."""
        self.loop = Loop("polling the table of durable tasks", self._poll, self._pause)
        self._more = False
        """Whether the last claim has left some in the table, as far as it could tell."""
        self._added = 0
        """Tasks that this process has added."""
        self._unsure = False
        """Whether tasks were added of which the last answer of the table may know nothing."""
        self.claims = True
        """Whether tasks are claimed; not during a shutdown."""
        self.backlog = 0
        """About how many tasks are due and nobody has, up to the size of the queue."""

    def expect(self, delay: float) -> None:
        """Note that this process has added a task that is due in `delay` seconds."""
        if delay > 0:
            self._ask_at = min(self._ask_at, monotonic() + delay)
            self.loop.wake_at(self._ask_at)
        else:
            self.backlog += 1
            self._unsure = True
            self._added += 1
            if self._added % self._recount == 0:
                self._ask_at = 0.0

    def wake(self) -> None:
        """Poll soon, and again when a slot is free: another process may have added a task."""
        self._unsure = True
        self.loop.wake()

    def run_ended(self) -> None:
        """Poll if something may wait for the slot that has become free."""
        if self._more or self.backlog or self._unsure:
            self.loop.wake()

    async def _poll(self) -> None:
        # The questions come first: what is committed or ends during the claim wakes this again.
        try:
            if monotonic() >= self._ask_at:
                await self._ask()
        finally:  # tasks must run also where counting them takes too long
            if self.claims:
                await self._claim()
        self.loop.wake_at(self._ask_at)

    async def _ask(self) -> None:
        """Ask the table when the next task is due and how many are, in this order.

        What comes due between the two is in one of the answers at least.
        """
        self._ask_at = monotonic() + self._pause
        names = self._types.startable(self._limiters)
        seconds = await self._store.seconds_until_due(names)
        self._ask_at = min(self._ask_at, monotonic() + seconds)
        self._unsure = False
        countable = self._types.startable(self._tasks)
        added = self._added
        counted = await self._store.count_due(countable, at_most=self._countable)
        self.backlog = counted + self._added - added  # it may know nothing of these

    async def _claim(self) -> None:
        room = self._room()
        by_name = self._room_by_name()
        if room <= 0 or not any(by_name.values()):
            return
        unsure, self._unsure = self._unsure, False
        claim = await self._store.claim_due(by_name, room, self._recorder.held, self._limits)
        claimed, self._more = claim.tasks, claim.more
        self.loop.wake_at(monotonic() + claim.pause)
        for record, due_for in claimed:
            self._latest = job = self._make_job(record, due_for)
            self._recorder.held[job.id] = job
            if self.claims:  # or a shutdown has begun meanwhile, which releases what is held
                self._dispatcher.enqueue(job)
        if claimed and self._more:
            self.loop.wake()  # those behind some that are at their limit now, if a slot is left
        every_name = by_name.keys() == set(self._types.startable(self._tasks))
        all_claimed = every_name and all(map(math.isinf, by_name.values())) and not self._more
        self.backlog = 0 if all_claimed else max(self.backlog - len(claimed), 0)
        self._unsure = self._unsure or (unsure and not all_claimed)

    def _room(self) -> int:
        dispatcher = self._dispatcher
        if dispatcher.free_slots > 0 or not dispatcher.crowded:
            return dispatcher.free_slots
        # Tasks in memory keep every slot busy. One from the table waits among them for its turn.
        latest = self._latest
        if latest is None or latest.name in dispatcher.paused:
            return 1
        return 0 if latest.state is TaskState.QUEUED else 1

    def _room_by_name(self) -> dict[str, float]:
        """Return how many of each task could start in this process now."""
        room = self._dispatcher.room
        names = self._types.startable(self._limiters)
        return {name: max(room(self._limiters[name]), 0) for name in names}
