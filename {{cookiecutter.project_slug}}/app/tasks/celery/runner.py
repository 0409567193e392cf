"""The Celery engine: the front of the in-process one, whose tasks run on workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from time import time
from types import MappingProxyType
from typing import Any, Self

from ..arguments import NO_KWARGS
from ..carrier import NOTHING_CARRIED, Carrier
from ..durable import TaskRecord
from ..durable.store import Sessions
from ..errors import ArgumentError, PoisonedError, UnknownTaskError
from ..info import Snapshot, TaskState
from ..job import Job, Stop
from ..lane import Lane
from ..observer import TaskObserver
from ..options import Options
from ..redaction import describe_error
from ..runner import NO_SESSIONS, TaskRunner
from ..settings import TaskSettings
from ..task import PlainTask, Task
from .broker import make_celery
from .delivery import Delivery
from .durable import CeleryDurableTasks
from .errors import BrokerUnavailable
from .limits import SharedLimits
from .message import Message
from .publisher import Publisher
from .settings import CelerySettings
from .states import StateWriter, TaskStates

logger = logging.getLogger(__name__)

_LAST_SECONDS = 2.0


class RemoteJob(Job):
    """A call on its way to the broker."""

    __slots__ = ("message",)

    message: Message


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message."""

    state: TaskState = TaskState.QUEUED
    """QUEUED if there was nothing to do, or not yet."""
    next: Message | None = None
    """What has to be sent before this message is acknowledged."""
    error: BaseException | None = None


class CeleryRunner(TaskRunner):
    """Publishes tasks for Celery workers; in a worker it also runs them.

    It takes the place of `TaskRunner`: the same calls, tasks, observers and settings. Decorated
    tasks only, and those among `tasks`, since a worker must find them by name. Raises
    BrokerUnavailable from `submit` while the broker is away, but for durable tasks.
    """

    runs_here = False

    _durable: CeleryDurableTasks | None

    def __init__(
        self,
        settings: TaskSettings,
        observers: Sequence[TaskObserver] = (),
        *,
        celery_settings: CelerySettings,
        tasks: Iterable[Task[..., Any]] = (),
        sessions: Sessions | None = None,
        carrier: Carrier = NOTHING_CARRIED,
        provided: Mapping[ContextVar[Any], Any] = MappingProxyType({}),
    ) -> None:
        tasks = list(tasks)
        url = celery_settings.shared_store
        self._shared_store = url
        self._queue = celery_settings.queue
        self.states: TaskStates | None = None
        self._writer: StateWriter | None = None
        if url is not None:
            timing = celery_settings.result_expires, celery_settings.publish_timeout
            self.states, self._writer = TaskStates(url, *timing), StateWriter(url, *timing)
        celery = make_celery(celery_settings, settings, tasks)
        self._publisher = Publisher(celery, self.states)
        super().__init__(
            settings,
            observers,
            tasks=tasks,
            sessions=sessions,
            carrier=carrier,
            provided=provided,
        )
        self._carrier = carrier
        self._limits: SharedLimits | None = None
        self._by_name = {task.name: task for task in self.tasks}

    async def __aenter__(self) -> Self:
        """Start, and look for the broker; it may come later."""
        await super().__aenter__()
        if self._shared_store is not None:
            self._limits = SharedLimits(self._shared_store, self._queue, self.settings.lease)
            self._limits.start()
        self._publisher.start()
        await asyncio.to_thread(self._publisher.probed.wait)
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Stop: what runs here ends as in process, and what the broker has not got is sent."""
        await super().__aexit__(*exception)
        # What could be sent has had the time of the drain; this is for what came at its end.
        last = min(_LAST_SECONDS, self.settings.drain_timeout)
        unsent = await asyncio.to_thread(self._publisher.stop, last)
        lost = [message for message in unsent if not message.durable]  # the table has the others
        if lost:
            names = ", ".join(f"{message.name} ({message.id})" for message in lost)
            logger.error("%d tasks never reached the broker: %s", len(lost), names)
        if self._limits is not None:
            await self._limits.close()
        if self._writer is not None:
            await self._writer.close()
        if self.states is not None:
            self.states.close()

    async def join(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the contract
        """Wait until nothing runs in this process and the broker has every task."""
        async with asyncio.timeout(timeout):
            await super().join()
            await asyncio.to_thread(self._publisher.wait_until_empty, timeout)

    def reserve(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
    ) -> Job:
        """Check a call and take a place for it; raises what `submit` raises."""
        task = self._remote(func)
        if task.durable:
            return super().reserve(func, args, kwargs, options)
        self._check_open()
        job = RemoteJob(task, task.check_arguments(args, kwargs), options, (), 0.0)
        job.message = Message.of_job(job, task, options, self._carrier.save())
        if not self._publisher.available:
            self._refuse(job, BrokerUnavailable(job.name))
        if not self._places.take():
            self._refuse(job)
        return job

    def hand_over(self, job: Job) -> None:
        """Send a job to the workers."""
        if isinstance(job, RemoteJob):
            self._publisher.put(job.message, self._places.give_back)
        else:
            super().hand_over(job)

    def cancel(self, task_id: str) -> bool:
        """Cancel a task that the broker has not got, or that runs here."""
        if self._publisher.withdraw(task_id):
            return True
        return super().cancel(task_id)

    async def cancel_anywhere(self, task_id: str) -> bool:
        """Cancel a task unless it has ended, or runs on another worker and is not durable."""
        if await super().cancel_anywhere(task_id):
            return True
        return self.states is not None and await asyncio.to_thread(self.states.cancel, task_id)

    async def record(self, task_id: str) -> TaskRecord | None:
        """Return what is kept of a task: the row of a durable one, or what its worker told."""
        found = None if self._durable is None else await super().record(task_id)
        if found is None and (note := self._publisher.find(task_id)) is not None:
            return note.record
        if found is None and self.states is not None:
            found = await asyncio.to_thread(self.states.get, task_id)
        return found

    def snapshot(self, limit: int | None = None) -> Snapshot:
        """Return what this process is doing; tasks that the broker has are not in it."""
        snapshot = super().snapshot(limit)
        return replace(snapshot, queued=snapshot.queued + self._publisher.pending)

    async def execute(self, message: Message) -> Outcome:
        """Run the task of `message` here, once."""
        task = self._by_name.get(message.name)
        if task is None:
            msg = f"the worker does not know the task {message.name}"
            raise UnknownTaskError(msg)
        if not self.accepting or message.delay > 0:  # not here, or not yet
            return Outcome(next=message)
        slot = await self._limits.acquire(task) if self._limits is not None else None
        if isinstance(slot, float):
            return Outcome(next=message.postponed(slot))
        try:
            return await self._run(message, task)
        finally:
            if slot is not None and self._limits is not None:
                await self._limits.give_back(slot)

    async def _run(self, message: Message, task: Task[..., Any]) -> Outcome:
        if message.durable:
            if self._durable is None:
                raise RuntimeError(NO_SESSIONS)
            await self._durable.run(message.id)
            return Outcome()
        if self._writer is not None and await self._writer.is_cancelled(message):
            return Outcome()
        begin = {"attempts": message.attempts + 1, "started_at": time()}
        if self._writer is not None:
            self._writer.note(message, TaskState.RUNNING, **begin)
        outcome = await self._run_in_memory(message, task)
        if self._writer is not None and outcome.next is None:
            self._writer.note(message, outcome.state, **_ending(outcome, begin))
        elif self._writer is not None and outcome.next is not None:
            self._writer.note(outcome.next, TaskState.QUEUED)
            await self._writer.flush()  # before it is sent: its worker has the last word
        return outcome

    async def _run_in_memory(self, message: Message, task: Task[..., Any]) -> Outcome:
        job = self._job_of(message, task)
        delivery = job.ledger = Delivery()
        self._places.take_back()
        self._started().enqueue(job)
        state = await delivery.end()
        if state is TaskState.QUEUED:
            return Outcome(next=message.again(job.attempt, job.retry_in or 0.0))
        if job.stop is Stop.SHUTDOWN:  # the run that was broken off does not count
            return Outcome(next=message)
        return Outcome(state, error=job.error)

    def _job_of(self, message: Message, task: Task[..., Any]) -> Job:
        job = Job(
            task,
            ((), NO_KWARGS),
            message.options,
            self._lanes_of(task),
            self.settings.default_timeout,
        )
        job.id = message.id
        job.created_at = message.created_at
        job.delay = message.delay
        job.attempt = message.attempts
        job.retry = message.retry_of(task)
        try:
            job.context.run(self._carrier.restore, message.context)
            job.args, job.kwargs = task.check_arguments.from_values(message.arguments)
            if message.lost >= self.settings.crash_attempts:
                msg = f"its worker was lost while it ran, {message.lost} times"
                raise PoisonedError(msg)
        except Exception as error:  # noqa: BLE001 - it becomes the end of the task
            job.fail_with(error)
        return job

    def _remote(self, func: Callable[..., Any]) -> Task[..., Any]:
        if not isinstance(func, Task):
            name = PlainTask(func).name
            msg = f"{name} cannot be sent to a worker: decorate it with @task, at module level"
            raise ArgumentError(msg)
        if func.name not in self._by_name:
            msg = f"no worker would find the task {func.name}: list it in the tasks of its feature"
            raise UnknownTaskError(msg)
        return self._by_name[func.name]

    def _lanes_of(self, task: Task[..., Any] | PlainTask) -> tuple[Lane, ...]:
        # A worker runs no more tasks than it has slots, in threads or not.
        return () if self._shared_store is not None else super()._lanes_of(task)

    def _make_durable(
        self, sessions: Sessions, tasks: Sequence[Task[..., Any]], carrier: Carrier
    ) -> CeleryDurableTasks:
        return CeleryDurableTasks(
            self._publisher, sessions, self.settings, self._places, tasks, self._lanes_of, carrier
        )


def _ending(outcome: Outcome, begin: dict[str, Any]) -> dict[str, Any]:
    if isinstance(outcome.error, PoisonedError):
        begin = {}  # nothing was run
    error = None if outcome.error is None else describe_error(outcome.error)
    return {**begin, "finished_at": time(), "error": error}
