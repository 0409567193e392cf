"""Durable tasks on workers: the table has the task, a message tells a worker that it is due."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..durable.durable import DurableTasks
from ..durable.job import DurableJob
from ..durable.ledger import Ledger
from ..durable.store import TaskRecord, TaskStore
from ..durable.sweeper import Sweeper
from ..engine import Engine
from ..info import TaskState
from ..job import Job
from ..lane import Lane
from .message import Message

if TYPE_CHECKING:
    from .publisher import Publisher

_SENT_AT_ONCE = 100
_LOST_AFTER = 60.0
"""Seconds after which a task whose message no worker has followed is sent again."""


class WorkerLedger(Ledger):
    """Tells when a run has ended, and leaves its repetition to whichever worker is free then."""

    repeats_elsewhere = True

    def __init__(self, store: TaskStore) -> None:
        super().__init__(store)
        self._ends: dict[str, asyncio.Future[TaskState]] = {}

    def end_of(self, job: Job) -> asyncio.Future[TaskState]:
        """Return the state in which the run of `job` leaves it."""
        future = asyncio.get_running_loop().create_future()
        self._ends[job.id] = future
        return future

    async def settle(self, job: Job, state: TaskState) -> None:
        """Write down how the run ended, and tell."""
        await super().settle(job, state)
        if state is TaskState.QUEUED and job.id in self.held:
            await self._leave(job)
        end = self._ends.pop(job.id, None)
        if end is not None and not end.done():
            end.set_result(state)

    async def _leave(self, job: Job) -> None:
        with suppress(Exception):  # its lease runs out, and then it is free too
            await self.store.put_aside([job.id], 0.0)
        self.held.pop(job.id, None)


class Relay(Sweeper):
    """Sends what waits in the table to the workers, instead of running it here."""

    publisher: Publisher

    async def _claim(self, engine: Engine) -> None:  # noqa: ARG002
        if not self.publisher.available:
            return
        names = dict.fromkeys(self._lanes, math.inf)
        records = await self._ledger.store.claim(names, _SENT_AT_ONCE, besides=self._ledger.held)
        if records:
            await self._ledger.store.put_aside([r.id for r in records], _LOST_AFTER)
        for record in records:
            self.publisher.put(_bell(record))
        if len(records) == _SENT_AT_ONCE:
            self.look()
        else:
            self.backlog = 0


class CeleryDurableTasks(DurableTasks):
    """The durable tasks of a process whose tasks run on workers, or of a worker."""

    _ledger: WorkerLedger

    def __init__(self, publisher: Publisher, *args: Any) -> None:
        self._publisher = publisher
        super().__init__(*args)

    async def run(self, task_id: str) -> TaskState | None:
        """Run a task here, once; return what became of it, None if there was nothing to do."""
        record = await self.store.take(task_id)
        if record is None:
            return None
        job = self._job_of(record)
        self._ledger.held[job.id] = job
        end = self._ledger.end_of(job)
        self._places.take_back()
        self._engine.enqueue(job)
        return await end

    def _make_ledger(self) -> Ledger:
        return WorkerLedger(self.store)

    def _make_sweeper(self, lanes: dict[str, tuple[Lane, ...]]) -> Sweeper:
        relay = Relay(self._settings, self._ledger, self._places, lanes, self._job_of)
        relay.publisher = self._publisher
        return relay

    def _can_run_at_once(self, job: DurableJob) -> bool:  # noqa: ARG002
        return False

    def _row(self, job: DurableJob) -> dict[str, Any]:
        row = super()._row(job)
        if job.delay == 0:  # a message is sent at the commit; if not, the relay sends it later
            row["lease_until"] = row["due_at"] + _LOST_AFTER
        return row

    def _announce(self, job: DurableJob) -> None:
        if job.delay == 0:
            self._publisher.put(_bell(job))
        else:
            super()._announce(job)


def _bell(task: DurableJob | TaskRecord) -> Message:
    """Make the message that says that a task in the table is due."""
    return Message(
        id=task.id,
        name=task.name,
        priority=int(task.priority),
        durable=True,
        created_at=task.created_at,
    )
