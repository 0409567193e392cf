"""Renews the leases of this process; repairs the table after clock changes, and prunes it."""

import logging
import math
import time
from time import monotonic

from ..dispatcher import Dispatcher
from ..job import Stop
from ..loop import Loop
from ..settings import TaskSettings
from .recorder import DurableRecorder
from .store import MAX_ROWS, TaskStore

logger = logging.getLogger(__name__)

_STEP_BACK = 1.0
"""Seconds that the clock may be set back without a repair."""


class Leases:
    """Renews each lease four times before it ends, so that a busy event loop loses none."""

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
        """When the leases that end too late were first seen (`time.monotonic()`)."""
        self._clock_ahead = math.inf
        self.loop = Loop("renewing the leases of durable tasks", self._step, settings.lease / 4)

    async def _step(self) -> None:
        await self._renew()
        await self._repair_after_clock_change()
        retention = self._settings.retention
        if retention < math.inf and await self._store.prune(retention) == MAX_ROWS:
            self.loop.wake()  # there may be more to prune

    async def _renew(self) -> None:
        held = dict(self._recorder.held)  # a copy: jobs may be added during the update
        if not held:
            return
        runs = {job.id: job.created_at for job in held.values()}
        progress = {job.id: job.progress for job in held.values() if job.progress is not None}
        for task_id in await self._store.renew(runs, progress):
            # Not if it has ended here meanwhile: a job with the same key may have its id now.
            if self._recorder.held.get(task_id) is held[task_id]:
                self._dispatcher.cancel(task_id, Stop.LOST)

    async def _repair_after_clock_change(self) -> None:
        """Repair due times and leases that lie too far ahead since the clock was set back."""
        ahead = time.time() - monotonic()
        if ahead < self._clock_ahead - _STEP_BACK:  # always true in the first step
            await self._store.make_undelayed_due()
        self._clock_ahead = ahead
        seen, now = self._too_long, monotonic()
        too_long = await self._store.leases_too_long()
        self._too_long = {lease: seen.get(lease, now) for lease in too_long}
        # Within a lease a live process renews its leases, so that they end at another time.
        a_lease_ago = now - self._settings.lease
        void = {task_id for (task_id, _), since in self._too_long.items() if since < a_lease_ago}
        if void:
            logger.warning("the clock was set back: voided %d leases that end too late", len(void))
            await self._store.void_leases(void)
