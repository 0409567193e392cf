"""The recorder: writes the end of the runs of durable tasks into their rows."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from time import monotonic
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import PoisonedError
from ..info import FailedTask, TaskRecord, TaskState
from ..job import Job, Stop
from ..options import NO_OPTIONS
from ..redaction import describe_error, describe_traceback
from ..task import Task
from .outbox import add_rows
from .row import new_row
from .store import NOT_COUNTED, Run, TaskStore

logger = logging.getLogger(__name__)

_PAUSE = 0.5
"""Seconds until a write that has failed is tried again."""


class DurableRecorder:
    """Knows the durable jobs of this process, each until its end is written down.

    A database that fails costs no task: if it is away for longer than a lease, somebody runs it
    again. Whatever it raises (not only SQLAlchemy's errors), nothing else here must be harmed.
    """

    def __init__(
        self,
        store: TaskStore,
        tasks: Mapping[str, Task[..., Any]],
        aging: float,
        added: Callable[[float], None],
    ) -> None:
        self._store = store
        self._aging = aging
        self._tasks = tasks
        self._successes: list[Run] = []
        self._batch: asyncio.Task[None] | None = None
        """Writes them, when those before them have been written."""
        self._added = added
        """Called when a task has to run that this has written, with the seconds until then."""
        self.held: dict[str, Job] = {}

    async def record(self, job: Job, state: TaskState) -> None:
        """Write down how a run ended, or a cancellation before it; nothing of a lost job.

        It goes to its end, whatever is cancelled meanwhile: half of it would be worse than a wait.
        """
        writing = asyncio.create_task(self._record(job, state))
        while not writing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((writing,))

    async def _record(self, job: Job, state: TaskState) -> None:
        try:
            if job.stop is not Stop.LOST:
                await self._write_within_lease(job, state)
        except Exception:
            logger.exception("the end of task %s (%s) could not be stored", job.name, job.id)
        self.held.pop(job.id, None)
        if job.stop in (Stop.LOST, Stop.TIMEOUT):
            # Its key may have begun it anew, or another wait for its limit while its thread runs.
            self._added(0.001)  # which asks the table again

    async def cancel(self, task_id: str) -> bool:
        """End a task that has not ended, whoever has it; False if there is none."""
        cancelled = {"state": TaskState.CANCELLED}
        return task_id.isprintable() and await self._fail(task_id, None, cancelled)

    async def _write_within_lease(self, job: Job, state: TaskState) -> None:
        """Write, and again if that fails: a server that was restarted is back in seconds."""
        until = monotonic() + self._store.lease
        together = True
        while True:
            try:
                return await self._write(job, state, together=together)
            except Exception:
                closed = job.stop is Stop.SHUTDOWN or job.id not in self.held
                if closed or monotonic() > until:
                    raise
            together = False  # the row of another may be locked
            await asyncio.sleep(_PAUSE)

    async def _write(self, job: Job, state: TaskState, *, together: bool) -> None:
        if state is TaskState.QUEUED:
            counted = job.error is not None  # or it has asked for another run by `Snooze`
            delay = job.retry_in or 0.0
            await self._store.requeue([job.id], delay, _described(job), counted=counted)
            self._added(delay)
        elif job.stop is Stop.SHUTDOWN:
            # A thread cannot be stopped: nobody else may begin before this process is gone.
            in_thread = not job.is_async and job.started_at is not None
            await self._store.requeue([job.id], None, keep_lease=in_thread)
        elif state is TaskState.SUCCEEDED:
            run = (job.id, job.created_at)
            await (self._succeed(run) if together else self._store.succeed([run]))
        else:
            await self._fail(job.id, job.created_at, {"state": state, **_described(job)})

    async def _succeed(self, run: Run) -> None:
        """Write it down at once, or with all that come while others are being written."""
        if self._batch is None or not self._successes:
            # In a context of its own: it serves others than the run that happened to be first.
            batch = self._write_successes(self._batch)
            self._batch = asyncio.create_task(batch, context=Context())
        self._successes.append(run)
        await asyncio.shield(self._batch)  # which goes on for the others if this is cancelled

    async def _write_successes(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        runs, self._successes = self._successes, []
        await self._store.succeed(runs)

    async def _fail(self, task_id: str, created_at: float | None, values: dict[str, Any]) -> bool:
        """End a task without success, and submit its `on_failure` in the same transaction."""
        async with self._store.sessions() as session:
            ended = await self._store.fail(session, task_id, created_at, values)
            submitted = ended is not None and await self._submit_on_failure(session, ended)
        if submitted:
            self._added(0.0)
        return ended is not None

    async def _submit_on_failure(self, session: AsyncSession, record: TaskRecord) -> bool:
        task = self._tasks.get(record.name)
        if task is None or task.on_failure is None:
            return False
        state, error = TaskState(record.state), record.error or ""
        try:
            arguments, context = json.loads(record.arguments), json.loads(record.context)
            failed = FailedTask(record.id, record.name, arguments, state, error)
            row = new_row(task.on_failure, ((failed,), {}), NO_OPTIONS, context, self._aging)
        except Exception:  # of a row that somebody has written, or the task would never end
            logger.exception("the on_failure of %s (%s) has no row", record.name, record.id)
            return False
        await session.run_sync(add_rows, [row])
        return True


def _described(job: Job) -> dict[str, Any]:
    """Return what the row says of the error of a run."""
    if isinstance(job.error, PoisonedError):  # of a run that was none: no line of the task has run
        return {"error": describe_error(job.error), **NOT_COUNTED}
    traceback = describe_traceback(job.error) or None
    return {"error": describe_error(job.error) or None, "traceback": traceback}
