"""Leases: keeps what this process has claimed; prunes what is over."""

import math
from collections.abc import Mapping
from time import monotonic

from ..dispatcher import Dispatcher
from ..job import Job, Stop
from ..loop import Loop
from ..settings import TaskSettings
from .recorder import DurableRecorder
from .store import AT_ONCE, TaskStore

_PRUNE_INTERVAL = 60.0
"""Seconds."""


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
        self._next_prune = 0.0
        self.loop = Loop("renewing the leases of durable tasks", self._step, settings.lease / 4)

    async def _step(self) -> None:
        await self._renew()
        if monotonic() >= self._next_prune and self._settings.retention < math.inf:
            self._next_prune = monotonic() + _PRUNE_INTERVAL
            if await self._store.prune(self._settings.retention) == AT_ONCE:
                self._next_prune = 0.0
                self.loop.wake()

    async def _renew(self) -> None:
        held = dict(self._recorder.held)  # others may come while the database is at it
        if not held:
            return
        progress = {job.id: job.progress for job in held.values() if job.progress is not None}
        renewed = await self._store.renew(held, progress)
        if missing := {task_id: held[task_id] for task_id in held.keys() - renewed}:
            await self._cancel_what_has_ended(missing)

    async def _cancel_what_has_ended(self, missing: Mapping[str, Job]) -> None:
        """Cancel runs whose tasks have ended elsewhere; what another has begun goes on here too."""
        runs = [(task_id, job.created_at) for task_id, job in missing.items()]
        still_open = await self._store.open_among(runs)
        for task_id, job in missing.items():
            # Or it has ended here meanwhile, and a key may have begun its task anew.
            if task_id not in still_open and self._recorder.held.get(task_id) is job:
                self._dispatcher.cancel(task_id, Stop.LOST)
