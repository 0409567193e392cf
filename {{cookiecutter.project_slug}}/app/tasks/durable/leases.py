"""Leases: keeps what this process has claimed; prunes what is over."""

import math

from ..dispatcher import Dispatcher
from ..job import Stop
from ..loop import Loop
from ..settings import TaskSettings
from .recorder import DurableRecorder
from .store import AT_ONCE, TaskStore


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
        self.loop = Loop("renewing the leases of durable tasks", self._step, settings.lease / 4)

    async def _step(self) -> None:
        await self._renew()
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
