"""What the runner knows of durable tasks: how they get into the table, and out of it again."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..arguments import Arguments
from ..carrier import Carrier
from ..context import current_outbox
from ..errors import OutsideTransactionError, PoisonedError, UnknownTaskError
from ..job import Stop
from ..options import Options
from ..task import Task
from .job import DurableJob
from .ledger import Ledger
from .store import Sessions, TaskRecord, TaskStore
from .sweeper import Sweeper

if TYPE_CHECKING:
    from ..engine import Engine
    from ..lane import Lane
    from ..places import Places
    from ..settings import TaskSettings
    from .outbox import Outbox


class DurableTasks:
    """The durable tasks of one runner."""

    def __init__(
        self,
        sessions: Sessions,
        settings: TaskSettings,
        places: Places,
        tasks: Iterable[Task[..., Any]],
        lanes_of: Callable[[Task[..., Any]], tuple[Lane, ...]],
        carrier: Carrier,
    ) -> None:
        self._settings = settings
        self._places = places
        self._tasks = {task.name: task for task in tasks if task.durable}
        self._lanes_of = lanes_of
        self._carrier = carrier
        owner = os.urandom(16).hex()
        self.store = TaskStore(sessions, owner, settings.lease, settings.aging)
        self._ledger = self._make_ledger()

    def start(self, engine: Engine) -> None:
        """Start to look for tasks in the table."""
        self._engine = engine
        lanes = {name: self._lanes_of(task) for name, task in self._tasks.items()}
        self._sweeper = self._make_sweeper(lanes)
        engine.freed = self._freed
        self._sweeping = asyncio.get_running_loop().create_task(self._sweeper.run(engine))

    def _make_ledger(self) -> Ledger:
        return Ledger(self.store)

    def _make_sweeper(self, lanes: dict[str, tuple[Lane, ...]]) -> Sweeper:
        return Sweeper(self._settings, self._ledger, self._places, lanes, self._job_of)

    def stop_claiming(self) -> None:
        """Take no more tasks from the table; the leases of those taken are still renewed."""
        self._sweeper.claims = False
        for job in list(self._ledger.held.values()):
            if job.timer is not None:  # it may wait for its next run for longer than a shutdown
                self._engine.cancel(job.id, Stop.SHUTDOWN)

    async def stop(self) -> None:
        """Give back what was not run."""
        self._sweeper.stop()
        await self._sweeping
        await self._ledger.release()

    def look(self) -> None:
        """Look into the table soon: somebody else has put something there."""
        self._sweeper.backlog += 1
        self._sweeper.look()

    def prepare(self, task: Task[..., Any], arguments: Arguments, options: Options) -> DurableJob:
        """Make a job, if the task can be found again and there is a transaction to join."""
        if task.name not in self._tasks:
            msg = f"the runner does not know the durable task {task.name}"
            raise UnknownTaskError(msg)
        if options.retry is not None:
            msg = "a durable task may outlive this process: give its `retry` to @task(...)"
            raise ValueError(msg)
        _open_outbox(task.name)
        return self._make_job(task, arguments, options)

    def take_place(self, job: DurableJob) -> bool:
        """Take a place in the queue; what waits in the table counts too."""
        job.has_place = self._places.take(besides=self._sweeper.backlog)
        return job.has_place

    def put_in_outbox(self, job: DurableJob) -> None:
        """Make the job a row of the current session's transaction."""
        outbox = _open_outbox(job.name)
        outbox.add(
            lambda: self._row(job), lambda: self._committed(job), lambda: self._rolled_back(job)
        )

    def _row(self, job: DurableJob) -> dict[str, Any]:
        job.claimed = self._can_run_at_once(job)
        context = job.context.run(self._carrier.save)
        return self.store.row(job.values(context), claimed=job.claimed)

    def hand_over(self, job: DurableJob) -> None:
        """Run a job whose row was committed, or leave it to whoever is free first."""
        if job.committed is None:
            job.at_commit = True  # its session outlives the request
        elif job.committed and job.claimed:
            self._engine.enqueue(job)
        else:
            self.free_place(job)
            if job.committed:
                self._announce(job)

    def _announce(self, job: DurableJob) -> None:
        if job.delay > 0:
            self._sweeper.look_at(monotonic() + job.delay)
        else:
            self.look()

    def free_place(self, job: DurableJob) -> None:
        """Give back the place of a job that does not wait in this process."""
        if job.has_place:
            job.has_place = False
            self._places.give_back()

    def _can_run_at_once(self, job: DurableJob) -> bool:
        # Otherwise the row waits for whichever process is free first, perhaps this one.
        return (
            job.has_place
            and job.delay == 0
            and self._sweeper.claims
            and self._sweeper.backlog == 0
            and self._engine.free_slots > 0
        )

    def _committed(self, job: DurableJob) -> None:
        job.committed = True
        if job.claimed:
            self._ledger.held[job.id] = job
        if job.at_commit:
            self.hand_over(job)

    def _rolled_back(self, job: DurableJob) -> None:
        job.committed = False
        if job.at_commit:
            self.free_place(job)

    def _freed(self) -> None:
        if self._sweeper.backlog:
            self._sweeper.look()

    def _make_job(self, task: Task[..., Any], arguments: Arguments, options: Options) -> DurableJob:
        lanes = self._lanes_of(task)
        return DurableJob(
            task, arguments, options, lanes, self._settings.default_timeout, self._ledger
        )

    def _job_of(self, record: TaskRecord) -> DurableJob:
        """Make a job of a row that this process has claimed."""
        task = self._tasks[record.name]
        options = Options(priority=record.priority, timeout=record.timeout)
        job = self._make_job(task, ((), {}), options)
        job.id = record.id
        job.created_at = record.created_at
        job.delay = record.due_at - time.time()
        job.committed = job.claimed = True
        job.attempt = record.attempts
        try:
            job.context.run(self._carrier.restore, json.loads(record.context))
            job.args, job.kwargs = task.check_arguments.from_json(record.arguments)
            problem = self._poison(task, record)
        except Exception as error:  # noqa: BLE001 - a row must not stop all the others
            problem = error
        if problem is not None:
            job.fail_with(problem)
        return job

    def _poison(self, task: Task[..., Any], record: TaskRecord) -> Exception | None:
        limit = self._settings.crash_attempts if task.retry is None else task.retry.attempts
        if record.attempts < limit:
            return None
        last = f" after {record.error}" if record.error else ""
        return PoisonedError(f"the process ended while it ran, {record.attempts} runs{last}")


def _open_outbox(name: str) -> Outbox:
    outbox = current_outbox.get()
    if outbox is None or not outbox.is_open:
        msg = f"the durable task {name} was submitted outside a session"
        raise OutsideTransactionError(msg)
    return outbox
