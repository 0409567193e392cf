"""The ledger: writes the runs of durable tasks down, and keeps the lease of those it holds."""

import asyncio
import logging

from ..info import TaskState
from ..job import Job, Stop
from ..redaction import describe_error
from .batcher import Batcher
from .job import DurableJob
from .store import TaskStore

logger = logging.getLogger(__name__)


class Ledger:
    """Holds the durable jobs of this process, each until it has ended here.

    A database that fails costs no task: its lease runs out, and somebody runs it again. Whatever
    it raises (not only SQLAlchemy's errors), the engine must not be harmed.
    """

    repeats_elsewhere = False

    def __init__(self, store: TaskStore) -> None:
        self.store = store
        self.held: dict[str, Job] = {}
        self._begins = Batcher(self._begin_all)
        self._successes = Batcher(self._succeed_all)
        self._writes: set[asyncio.Task[None]] = set()

    async def begin(self, job: Job) -> bool:
        """Count the run before it starts; False if it is not this process's any more."""
        if isinstance(job, DurableJob) and job.problem is not None:
            job.attempt -= 1  # nothing is going to run
            return True
        try:
            attempt = await self._begins.add(job.id)
        except Exception:
            logger.exception("task %s (%s) could not be started", job.name, job.id)
            return False
        if attempt is None:
            return False
        job.attempt = attempt
        return True

    async def settle(self, job: Job, state: TaskState) -> None:
        """Write down how a run ended, unless the job was lost."""
        try:
            if job.stop is not Stop.LOST:
                await self._write(job, state)
        except Exception:
            logger.exception("the end of task %s (%s) could not be stored", job.name, job.id)
        if state is not TaskState.QUEUED:
            self.held.pop(job.id, None)

    def drop(self, job: Job) -> None:
        """Take note that a waiting job was cancelled; at a shutdown `release` follows."""
        if job.stop is not Stop.SHUTDOWN:
            write = asyncio.get_running_loop().create_task(self.settle(job, TaskState.CANCELLED))
            self._writes.add(write)
            write.add_done_callback(self._writes.discard)

    async def renew(self) -> list[Job]:
        """Renew the leases; return the jobs that were lost to a cancellation or to another."""
        asked = list(self.held.values())  # others may come while the database is at it
        if not asked:
            return []
        ours = await self.store.renew([job.id for job in asked])
        return [job for job in asked if job.id not in ours]

    async def release(self) -> None:
        """Give back at a shutdown what was not run, for the next start or another process."""
        if self._writes:
            await asyncio.wait(self._writes)
        try:
            if self.held:
                await self.store.release(list(self.held), began=False)
        except Exception:
            logger.exception("%d tasks wait for the end of their lease", len(self.held))
        self.held.clear()

    async def _write(self, job: Job, state: TaskState) -> None:
        error = None if job.error is None else describe_error(job.error)
        if state is TaskState.QUEUED:
            await self.store.repeat(job.id, job.retry_in or 0.0, error or "")
        elif job.stop is Stop.SHUTDOWN:
            # A thread cannot be stopped: nobody else may begin before this process is gone.
            in_thread = not job.is_async and job.started_at is not None
            await self.store.release([job.id], began=True, keep_lease=in_thread)
        elif state is TaskState.SUCCEEDED:
            await self._successes.add(job.id)
        else:
            await self.store.finish([job.id], state, error)

    async def _begin_all(self, ids: list[str]) -> list[int | None]:
        attempts = await self.store.begin(ids)
        return [attempts.get(task_id) for task_id in ids]

    async def _succeed_all(self, ids: list[str]) -> list[None]:
        await self.store.finish(ids, TaskState.SUCCEEDED, None)
        return [None] * len(ids)
