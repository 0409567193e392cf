"""The recorder: writes how the runs of durable tasks ended into their rows."""

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
"""Seconds until a failed write is tried again."""
RECOUNT = 0.001
"""Seconds for `DurableTasks.expect` that let it count the backlog again instead of adding to it."""


class DurableRecorder:
    """Holds the durable jobs of this process, each until its end is recorded.

    A failing database loses no task: if it is away for longer than a lease, the task runs again.
    Its exceptions, which are not only SQLAlchemy's, must not affect anything else in the process.
    """

    def __init__(
        self,
        store: TaskStore,
        tasks: Mapping[str, Task[..., Any]],
        aging: float,
        expect: Callable[[float], None],
    ) -> None:
        self._store = store
        self._aging = aging
        self._tasks = tasks
        self._successes: list[Run] = []
        self._batch: asyncio.Task[None] | None = None
        """Writes the successes when the batch before them has been written."""
        self._expect = expect
        """Called with the seconds until a task that this has written is due, or with `RECOUNT`."""
        self.held: dict[str, Job] = {}

    async def record(self, job: Job, state: TaskState) -> None:
        """Record how a run ended, or a cancellation before it; a lost job is not recorded.

        No cancellation interrupts it: half a record would be worse than waiting for a whole one.
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
            logger.exception("the end of task %s (%s) could not be recorded", job.name, job.id)
        self.held.pop(job.id, None)
        if job.stop in (Stop.LOST, Stop.TIMEOUT):
            # A new task may have its key, or its limit may be free although its thread runs on.
            self._expect(RECOUNT)

    async def cancel(self, task_id: str) -> bool:
        """Cancel an open task in the table, whichever process has it; False if there is none."""
        cancelled = {"state": TaskState.CANCELLED}
        return task_id.isprintable() and await self._fail(task_id, None, cancelled)

    async def _write_within_lease(self, job: Job, state: TaskState) -> None:
        """Write, and repeat a failed write: a server that was restarted is back in seconds."""
        until = monotonic() + self._store.lease
        together = True
        while True:
            try:
                return await self._write(job, state, together=together)
            except Exception:
                stopping = job.stop is Stop.SHUTDOWN or job.id not in self.held
                if stopping or monotonic() > until:
                    raise
            together = False  # the row of another task in the batch may be locked
            await asyncio.sleep(_PAUSE)

    async def _write(self, job: Job, state: TaskState, *, together: bool) -> None:
        if state is TaskState.QUEUED:
            counted = job.error is not None  # a run that raised `Snooze` has no error
            delay = job.retry_in or 0.0
            await self._store.requeue([job.id], delay, _error_columns(job), counted=counted)
            self._expect(delay)
        elif job.stop is Stop.SHUTDOWN:
            # A thread cannot be stopped: no other process may run the task before this one is gone.
            in_thread = not job.is_async and job.started_at is not None
            await self._store.requeue([job.id], None, keep_lease=in_thread)
        elif state is TaskState.SUCCEEDED:
            run = (job.id, job.created_at)
            await (self._succeed(run) if together else self._store.succeed([run]))
        else:
            await self._fail(job.id, job.created_at, {"state": state, **_error_columns(job)})

    async def _succeed(self, run: Run) -> None:
        """Write a success at once, or with all others that arrive during the write before."""
        if self._batch is None or not self._successes:
            # The batch serves many runs, so it must not have the context of the first one.
            batch = self._write_successes(self._batch)
            self._batch = asyncio.create_task(batch, context=Context())
        self._successes.append(run)
        await asyncio.shield(self._batch)  # if this is cancelled, the batch goes on for the others

    async def _write_successes(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        runs, self._successes = self._successes, []
        await self._store.succeed(runs)

    async def _fail(self, task_id: str, created_at: float | None, values: dict[str, Any]) -> bool:
        """End a task without success, and submit its `on_failure` in the same transaction."""
        async with self._store.sessions() as session:
            record = await self._store.fail(session, task_id, created_at, values)
            submitted = record is not None and await self._submit_on_failure(session, record)
        if submitted:
            self._expect(0.0)
        return record is not None

    async def _submit_on_failure(self, session: AsyncSession, record: TaskRecord) -> bool:
        task = self._tasks.get(record.name)
        if task is None or task.on_failure is None:
            return False
        state, error = TaskState(record.state), record.error or ""
        try:
            arguments, context = json.loads(record.arguments), json.loads(record.context)
            failed = FailedTask(record.id, record.name, arguments, state, error)
            row = new_row(task.on_failure, ((failed,), {}), NO_OPTIONS, context, self._aging)
        except Exception:  # a row that was written by hand must not keep its task from ending
            logger.exception("cannot submit the on_failure of %s (%s)", record.name, record.id)
            return False
        await session.run_sync(add_rows, [row])
        return True


def _error_columns(job: Job) -> dict[str, Any]:
    """Return the columns that describe the error of a run."""
    if isinstance(job.error, PoisonedError):  # the function was not called: this was no attempt
        return {"error": describe_error(job.error), **NOT_COUNTED}
    traceback = describe_traceback(job.error) or None
    return {"error": describe_error(job.error) or None, "traceback": traceback}
