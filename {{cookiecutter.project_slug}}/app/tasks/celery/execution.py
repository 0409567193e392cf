"""Runs the task of a message on a worker, and decides what is sent afterwards."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

from ..context import Propagator
from ..dispatcher import Dispatcher
from ..durable.row import job_of
from ..info import UNSUCCESSFUL, FailedTask, TaskState, record_of
from ..job import Job, Stop
from ..options import NO_OPTIONS
from ..redaction import describe_error
from ..retry import Retry
from ..settings import TaskSettings
from ..task import Task
from .limits import WorkerLimits
from .message import Message
from .states import TaskStates

_PAUSED_FOR, _LONGEST_PAUSE = 5.0, 300.0
"""Seconds until a message of a paused task is tried again: the shortest and the longest time."""
_GAP = 0.02
"""Seconds between two such messages: thousands at the same time would hold up all other tasks."""


class TaskFailed(Exception):  # noqa: N818 - Celery shows the name as that of the outcome
    """Tells Celery and Flower that a task has ended without success.

    The exception itself is already in the log, the metrics and the alerts.
    """


class Delivery:
    """The recorder of a job that came in a message; its future `end` tells how the run ended."""

    def __init__(self, record: Callable[[Job, TaskState], Awaitable[None]]) -> None:
        self._record = record
        self.end: asyncio.Future[TaskState] = asyncio.get_running_loop().create_future()
        """The state of the task after the run; QUEUED if it will run again."""

    async def record(self, job: Job, state: TaskState) -> None:
        """Record the state of the job after its run, and set `end`."""
        try:
            await self._record(job, state)
        finally:
            if not self.end.done():
                self.end.set_result(state)


class MessageExecutor:
    """Runs in-memory tasks: the broker keeps the message of each until its run has ended."""

    def __init__(
        self,
        settings: TaskSettings,
        tasks: Mapping[str, Task[..., Any]],
        propagator: Propagator,
        dispatcher: Dispatcher,
        limits: WorkerLimits,
        states: TaskStates,
        publish: Callable[[Message], None],
    ) -> None:
        self._settings = settings
        self._tasks = tasks
        self._propagator = propagator
        self._dispatcher = dispatcher
        self._limits = limits
        self._states = states
        self._publish = publish
        self._running: dict[str, asyncio.Event] = {}
        self._last_paused = 0.0
        """When the last message of a paused task will be tried again (`time.monotonic()`)."""

    async def run(self, message: Message) -> Message | None:
        """Run the task of a message once, if its limits admit it.

        Returns the message to send before this one is acknowledged, if any. Raises TaskFailed.
        """
        if message.id in self._running:
            # Redis redelivers a worker's messages when their connection broke, and the run goes on.
            await self._running[message.id].wait()
            return None
        self._running[message.id] = ended = asyncio.Event()
        try:
            return await self._run_if_admitted(message)
        finally:
            del self._running[message.id]
            ended.set()

    async def _run_if_admitted(self, message: Message) -> Message | None:
        job = self._job(message)
        if await self._states.is_cancelled(message.id):
            return await self._run(message, job, cancelled=True)
        if message.name in self._dispatcher.queue.paused:
            return message.postponed(self._pause())
        async with self._limits.slot(job) as pause:
            return message.postponed(pause) if pause else await self._run(message, job)

    def _pause(self) -> float:
        """Return the seconds until the next message of a paused task is tried again."""
        now = monotonic()
        last = min(self._last_paused + _GAP, now + _LONGEST_PAUSE)
        self._last_paused = max(last, now + _PAUSED_FOR)
        return self._last_paused - now

    async def _run(self, message: Message, job: Job, *, cancelled: bool = False) -> Message | None:
        job.recorder = delivery = Delivery(partial(self._record, message))
        self._dispatcher.enqueue(job)
        if cancelled:  # the job ends without a call of its function, and observers see its end
            self._dispatcher.cancel(job.id)
        await asyncio.sleep(0)  # let the job start
        self._states.note(record_of(job))
        state = await delivery.end
        following: Message | None = None
        if state is TaskState.QUEUED:
            following = message.again(job.attempt, job.retry_in or 0.0)
        elif job.stop is Stop.SHUTDOWN:  # the interrupted run does not count
            following = message
        self._states.note(record_of(job) if following is None else following)
        if following is not None:
            await self._states.flush()  # before the next worker gets the message and notes a state
        elif job.error is not None:
            raise TaskFailed(describe_error(job.error))
        return following

    async def _record(self, message: Message, job: Job, state: TaskState) -> None:
        """Send the `on_failure` of a task that has ended without success; a shutdown is no end."""
        on_failure = job.task.on_failure
        if on_failure is None or state not in UNSUCCESSFUL or job.stop is Stop.SHUTDOWN:
            return
        # Not the arguments of the job, which has none if it failed without a call.
        arguments, context = json.loads(message.arguments), json.loads(message.context)
        failed = FailedTask(job.id, job.name, arguments, state, describe_error(job.error))
        self._publish(Message.of_call(on_failure, ((failed,), {}), NO_OPTIONS, context))

    def _job(self, message: Message) -> Job:
        task = called = self._tasks[message.name]
        if message.retry is not None:  # the exceptions to retry are always those of the task
            called = copy(task)
            called.retry = replace(message.retry, on=(task.retry or Retry()).on)
        claimed = replace(message, attempts=message.attempts + 1)
        job = job_of(claimed, called, self._settings, self._propagator)
        job.task = task
        job.limit_group = message.limit_group
        job.delay = message.delay
        return job
