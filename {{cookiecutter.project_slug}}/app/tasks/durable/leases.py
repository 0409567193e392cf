"""Leases: keeps what this process has claimed; repairs and prunes the table."""

import logging
import math
import time
from time import monotonic

from ..dispatcher import Dispatcher
from ..job import Stop
from ..loop import Loop
from ..settings import TaskSettings
from .recorder import DurableRecorder
from .store import AT_ONCE, TaskStore

logger = logging.getLogger(__name__)

_STEP_BACK = 1.0
"""Seconds by which the clock may go back unnoticed."""


class Leases:
    """Renews leases four times in the time of one, so that a busy event loop loses none."""

    def __init__(
        self,
        settings: TaskSettings,
        store: TaskStore,
        recorder: DurableRecorder,
        dispatcher: Dispatcher,
    ) -> None:
        self._settings = settings
        self._store = store
        self._recorder = recorder
        self._dispatcher = dispatcher
        self._too_long: dict[tuple[str, float], float] = {}
        """Since when leases are seen that end later than any that is taken now."""
        self._clock_ahead = math.inf
        self.loop = Loop("renewing the leases of durable tasks", self._step, settings.lease / 4)

    async def _step(self) -> None:
        await self._renew()
        await self._heed_the_clock()
        retention = self._settings.retention
        if retention < math.inf and await self._store.prune(retention) == AT_ONCE:
            self.loop.wake()  # there may be more

    async def _renew(self) -> None:
        held = dict(self._recorder.held)  # others may come while the database is at it
        if not held:
            return
        runs = {job.id: job.created_at for job in held.values()}
        progress = {job.id: job.progress for job in held.values() if job.progress is not None}
        for task_id in await self._store.renew(runs, progress):
            # Or it has ended here meanwhile, and a key may have begun its task anew.
            if self._recorder.held.get(task_id) is held[task_id]:
                self._dispatcher.cancel(task_id, Stop.LOST)

    async def _heed_the_clock(self) -> None:
        """Mend what a clock that was set back has made of the table."""
        ahead = time.time() - monotonic()
        if ahead < self._clock_ahead - _STEP_BACK:  # and at the start
            await self._store.make_due_what_has_no_delay()
        self._clock_ahead = ahead
        seen, now = self._too_long, monotonic()
        self._too_long = {one: seen.get(one, now) for one in await self._store.leases_too_long()}
        # Those of a live process have been renewed by then, and end at another time.
        over = now - self._settings.lease
        void = {task_id for (task_id, _), since in self._too_long.items() if since < over}
        if void:
            logger.warning("%d leases end too late, since the clock was set back: void", len(void))
            await self._store.void_leases(void)
