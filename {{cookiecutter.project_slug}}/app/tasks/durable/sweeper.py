"""The sweeper: renews leases, picks up tasks that nobody has, and prunes those long over."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from time import monotonic

from sqlalchemy.exc import SQLAlchemyError

from ..engine import Engine
from ..job import Stop
from ..places import Places
from ..settings import TaskSettings
from .job import DurableJob
from .ledger import Ledger
from .store import TaskRecord

logger = logging.getLogger(__name__)

_PRUNE_INTERVAL = 60.0
"""Seconds."""


class Sweeper:
    """Looks at the table now and then, and whenever there may be something to take."""

    def __init__(
        self,
        settings: TaskSettings,
        ledger: Ledger,
        places: Places,
        names: Collection[str],
        make_job: Callable[[TaskRecord], DurableJob],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._places = places
        self._names = names
        self._make_job = make_job
        self._look = asyncio.Event()
        self._next_renewal = 0.0
        self._next_prune = 0.0
        self.claims = True
        """Whether tasks are picked up; not during a shutdown."""
        self.backlog = 0
        """About how many tasks are due and not taken by anybody."""

    def look(self) -> None:
        """Look again soon: there is room, or there is work."""
        self._look.set()

    async def run(self, engine: Engine) -> None:
        """Sweep until cancelled."""
        self._look.set()
        pause = min(self._settings.sweep_interval, self._settings.lease / 4)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._look.wait()
            self._look.clear()
            try:
                await self._sweep(engine)
            except SQLAlchemyError:
                logger.exception("the table of durable tasks could not be read")
                self._look.clear()  # do not hurry to fail again

    async def _sweep(self, engine: Engine) -> None:
        now = monotonic()
        if now >= self._next_renewal:
            self._next_renewal = now + self._settings.lease / 4
            for job in await self._ledger.renew():
                engine.cancel(job.id, Stop.LOST)
        if self.claims:
            await self._claim(engine)
        if now >= self._next_prune:
            self._next_prune = now + _PRUNE_INTERVAL
            await self._ledger.store.prune(self._settings.retention)

    async def _claim(self, engine: Engine) -> None:
        room = min(self._settings.max_concurrency, self._places.limit - self._places.taken)
        if engine.free_slots <= 0 or room <= 0:
            self.backlog = await self._ledger.store.backlog(self._names)
            return
        records = await self._ledger.store.claim(self._names, room)
        for record in records:
            job = self._make_job(record)
            self._places.take_back()
            self._ledger.held[job.id] = job
            engine.enqueue(job)
        if len(records) == room:
            self.look()
        else:
            self.backlog = 0
