"""The sweeper: renews leases, picks up tasks that nobody has, and prunes those long over."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Mapping
from time import monotonic, time

from ..engine import Engine
from ..info import TaskState
from ..job import Stop
from ..lane import Lane
from ..places import Places
from ..redaction import describe_error
from ..settings import TaskSettings
from .job import DurableJob
from .ledger import Ledger
from .store import PRUNED_AT_ONCE, TaskRecord

logger = logging.getLogger(__name__)

_MANY = 5000
"""Waiting tasks from which on it pays not to sort them all for every claim."""
_PRUNE_INTERVAL = 60.0
"""Seconds."""


class Sweeper:
    """Looks at the table now and then, and whenever there may be something to take.

    It takes no more than can start at once: what waits in the table may be taken by a process
    that is less busy.
    """

    def __init__(
        self,
        settings: TaskSettings,
        ledger: Ledger,
        places: Places,
        lanes: Mapping[str, tuple[Lane, ...]],
        make_job: Callable[[TaskRecord], DurableJob],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._places = places
        self._lanes = lanes
        self._make_job = make_job
        self._look = asyncio.Event()
        self._next_look = 0.0
        self._in_line: DurableJob | None = None
        self._next_renewal = 0.0
        self._next_prune = 0.0
        self._stopped = False
        self._failing = False
        self.claims = True
        """Whether tasks are picked up; not during a shutdown."""
        self.backlog = 0
        """About how many tasks are due and not taken by anybody."""

    def look(self) -> None:
        """Look again soon: there is room, or there is work."""
        self._look.set()

    def look_at(self, moment: float) -> None:
        """Look again at a moment of `time.monotonic()`."""
        if moment < self._next_look:
            self._next_look = moment
            self._look.set()

    def stop(self) -> None:
        """Let `run` end after what it is doing: to be cut off might lock the database."""
        self._stopped = True
        self._look.set()

    async def run(self, engine: Engine) -> None:
        """Sweep until stopped."""
        self._look.set()
        while not self._stopped:
            await self._pause()
            try:
                await self._sweep(engine)
            except Exception as error:  # noqa: BLE001 - without it leases would run out
                self._log_failure(error)
                self._look.clear()  # do not hurry to fail again
                self._next_look = monotonic() + self._longest_pause
            else:
                self._log_success()

    def _log_failure(self, error: Exception) -> None:
        """Log one line a sweep, with a traceback once: a database may be down for hours."""
        logger.error(
            "the table of durable tasks could not be swept: %s",
            describe_error(error),
            exc_info=None if self._failing else error,
        )
        self._failing = True

    def _log_success(self) -> None:
        if self._failing:
            logger.warning("the table of durable tasks can be swept again")
        self._failing = False

    @property
    def _longest_pause(self) -> float:
        return min(self._settings.sweep_interval, self._settings.lease / 4)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._longest_pause, self._next_look - monotonic())):
                await self._look.wait()
        self._look.clear()

    async def _sweep(self, engine: Engine) -> None:
        now, began = monotonic(), time()
        if now >= self._next_renewal:
            for job in await self._ledger.renew():
                engine.cancel(job.id, Stop.LOST)
            self.backlog = await self._ledger.store.backlog(self._lanes)
            self._next_renewal = now + self._settings.lease / 4
        if self.claims:
            await self._claim(engine)
        if now >= self._next_look:
            self._next_look = math.inf
            due = await self._ledger.store.next_due(self._lanes, after=began)
            self.look_at(monotonic() + due)
        if now >= self._next_prune and self._settings.retention < math.inf:
            self._next_prune = now + _PRUNE_INTERVAL
            if await self._ledger.store.prune(self._settings.retention) == PRUNED_AT_ONCE:
                self._next_prune = now

    async def _claim(self, engine: Engine) -> None:
        room = min(self._room(engine), self._places.limit - self._places.taken)
        names = self._room_by_name()
        if room <= 0 or not names:
            return
        records = await self._ledger.store.claim(
            names, room, besides=self._ledger.held, many=self.backlog >= _MANY
        )
        for record in records:
            job = self._make_job(record)
            self._ledger.held[job.id] = self._in_line = job
            if self.claims:  # or a shutdown has begun, which gives it back
                self._places.take_back()
                engine.enqueue(job)
        if len(records) == room:
            self.backlog = max(self.backlog - room, 1)
            self.look()
        elif all(math.isinf(limit) for limit in names.values()) and len(names) == len(self._lanes):
            self.backlog = 0

    def _room(self, engine: Engine) -> int:
        if engine.free_slots > 0 or not engine.crowded:
            return engine.free_slots
        # Tasks in memory keep every slot busy. One from the table waits among them for its turn.
        waits = self._in_line is not None and self._in_line.state is TaskState.QUEUED
        return 0 if waits else 1

    def _room_by_name(self) -> dict[str, float]:
        """Return how many of each task could start now, without those that could not."""
        now = monotonic()
        room = {}
        for name, lanes in self._lanes.items():
            room[name] = min((lane.room(now) for lane in lanes), default=math.inf)
            if room[name] <= 0 and (opening := max(lane.next_start() for lane in lanes)) > now:
                self.look_at(opening)
        return {name: number for name, number in room.items() if number > 0}
