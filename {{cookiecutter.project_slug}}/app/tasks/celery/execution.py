"""How a message becomes a job on a worker, and what becomes of the message then."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic, time
from typing import Any

from redis.exceptions import RedisError

from ..context import Propagator
from ..dispatcher import Dispatcher
from ..errors import ArgumentError, PoisonedError
from ..info import UNSUCCESSFUL, FailedTask, TaskState
from ..job import Job, Stop
from ..options import NO_OPTIONS
from ..redaction import describe_error
from ..settings import TaskSettings
from ..task import Task
from .limits import SharedLimits
from .message import Message
from .states import TaskStates

logger = logging.getLogger(__name__)

_PAUSED_FOR, _LONGEST_PAUSE = 5.0, 300.0
"""Seconds until it is seen whether a message of a paused task may start, of few and of many."""
_GAP = 0.02
"""Seconds between two of many: thousands at the same time would hold up all other tasks."""
PAUSE = 1.0
"""Seconds until a task is tried again that could not be begun: its limits cannot be read, say."""
_NOT_YET = 60.0
"""Seconds for which a task waits that is cancelled at once: it must not begin before that."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message."""

    state: TaskState = TaskState.QUEUED
    """QUEUED if there was nothing to do, or not yet."""
    next: Message | None = None
    """What has to be sent before this message is acknowledged."""
    error: BaseException | None = None


class Delivery:
    """The recorder of a job that came in a message: who waits for the end of its run is told."""

    def __init__(self, record: Callable[[Job, TaskState], Awaitable[None]]) -> None:
        self._record = record
        self.end: asyncio.Future[TaskState] = asyncio.get_running_loop().create_future()
        """The state in which the run leaves the task; QUEUED if it is to run again."""

    async def record(self, job: Job, state: TaskState) -> None:
        """Write down what became of the job, and tell."""
        try:
            await self._record(job, state)
        finally:
            if not self.end.done():
                self.end.set_result(state)


class Limits:
    """The limits of the tasks on a worker: across all workers if there is a Redis, or its own."""

    def __init__(self, shared: SharedLimits | None) -> None:
        self.shared = shared

    def apply_to(self, job: Job, group: str) -> None:
        """Let a job of a limit group pass the limits of this process, if they are what counts."""
        job.limit_group = group if self.shared is None else None

    @asynccontextmanager
    async def slot(self, task: Task[..., Any], group: str) -> AsyncIterator[float]:
        """Hold a slot in the block; gives the seconds until another try if there is none, or 0."""
        slot: str | float = ""
        try:
            if self.shared is not None:
                slot = await self.shared.acquire(task, group)
        except (OSError, RedisError) as error:
            why = describe_error(error)
            logger.warning("the limits of task %s cannot be read: %s", task.name, why)
            slot = PAUSE
        try:
            yield slot if isinstance(slot, float) else 0.0
        finally:
            if self.shared is not None and isinstance(slot, str):
                await self.shared.release(slot)


class MessageExecutor:
    """Runs tasks that live in messages: the broker keeps one until its run has ended."""

    def __init__(
        self,
        settings: TaskSettings,
        tasks: Mapping[str, Task[..., Any]],
        propagator: Propagator,
        limits: Limits,
        states: TaskStates | None,
        publish: Callable[[Message], None],
    ) -> None:
        self._settings = settings
        self._tasks = tasks
        self._propagator = propagator
        self._limits = limits
        self._states = states
        self._publish = publish
        self._running: dict[str, asyncio.Event] = {}
        self._last_paused = 0.0
        """When the last message of a paused task will be tried again (`time.monotonic()`)."""

    async def run(self, message: Message, dispatcher: Dispatcher) -> Outcome:
        """Run the task of a message once, if its limits admit it."""
        if message.id in self._running:
            # Redis delivers anew what a worker had when their connection broke; its run goes on.
            await self._running[message.id].wait()
            return Outcome()
        self._running[message.id] = ended = asyncio.Event()
        try:
            return await self._run_if_admitted(message, dispatcher)
        finally:
            del self._running[message.id]
            ended.set()

    async def _run_if_admitted(self, message: Message, dispatcher: Dispatcher) -> Outcome:
        task = self._tasks[message.name]
        if self._states is not None and await self._states.is_cancelled(message.id):
            return await self._run(message, task, dispatcher, cancelled=True)
        if message.name in dispatcher.queue.paused:
            return Outcome(next=message.postponed(self._pause()))
        async with self._limits.slot(task, _limit_group(message, task)) as pause:
            if pause:
                return Outcome(next=message.postponed(pause))
            return await self._run(message, task, dispatcher)

    def _pause(self) -> float:
        """Return the seconds until the next message of a paused task is tried again."""
        now = monotonic()
        last = min(self._last_paused + _GAP, now + _LONGEST_PAUSE)
        self._last_paused = max(last, now + _PAUSED_FOR)
        return self._last_paused - now

    async def _run(
        self,
        message: Message,
        task: Task[..., Any],
        dispatcher: Dispatcher,
        *,
        cancelled: bool = False,
    ) -> Outcome:
        job, delivery = self._job(message, task)
        begin: dict[str, Any] = {}
        if cancelled:  # it ends without a run, and is told of as any other
            job.delay = _NOT_YET
        elif message.lost < self._settings.crash_attempts:
            begin = {"attempts": message.attempts + 1, "started_at": time()}
            self._note(message, TaskState.RUNNING, **begin)
        dispatcher.enqueue(job)
        if cancelled:
            dispatcher.cancel(job.id)
        state = await delivery.end
        if state is TaskState.QUEUED:
            return await self._send_again(message.again(job.attempt, job.retry_in or 0.0))
        if job.stop is Stop.SHUTDOWN:  # the run that was broken off does not count
            return await self._send_again(message)
        error = describe_error(job.error) or None
        self._note(message, state, finished_at=time(), error=error, **begin)
        return Outcome(state, error=job.error)

    async def _send_again(self, message: Message) -> Outcome:
        if self._states is not None:
            self._note(message, TaskState.QUEUED)
            await self._states.flush()  # before it is sent: its worker has the last word
        return Outcome(next=message)

    def _note(self, message: Message, state: TaskState, **values: Any) -> None:
        if self._states is not None:
            self._states.note(message, state, **values)

    async def _record(self, message: Message, job: Job, state: TaskState) -> None:
        """Send the `on_failure` of a task that has ended without success; a shutdown is no end."""
        on_failure = job.task.on_failure
        if on_failure is None or state not in UNSUCCESSFUL or job.stop is Stop.SHUTDOWN:
            return
        # Not those of the job, which has none if it could not be run.
        failed = FailedTask(job.id, job.name, message.arguments, state, describe_error(job.error))
        self._publish(Message.of_call(on_failure, ((failed,), {}), NO_OPTIONS, message.context))

    def _job(self, message: Message, task: Task[..., Any]) -> tuple[Job, Delivery]:
        job = Job(task, ((), {}), NO_OPTIONS, self._settings.default_timeout)
        self._limits.apply_to(job, _limit_group(message, task))
        job.id = message.id
        job.priority = message.priority
        job.created_at = message.created_at
        job.delay = message.delay
        job.attempt = message.attempts
        job.timeout = message.timeout_or(job.timeout)
        try:
            job.retry = message.retry_of(task)
            job.context.run(self._propagator.extract, message.context)
            job.args, job.kwargs = message.call_of(task)
            if message.lost >= self._settings.crash_attempts:
                msg = f"its worker was lost while it ran, {message.lost} times"
                raise PoisonedError(msg)
        except Exception as error:  # noqa: BLE001 - it becomes the end of the task
            job.fail_with(error)
        job.recorder = delivery = Delivery(partial(self._record, message))
        return job, delivery


def _limit_group(message: Message, task: Task[..., Any]) -> str:
    if task.per is None:
        return task.name
    try:
        return task.limit_group(message.call_of(task))
    except ArgumentError:  # which ends the task when its turn comes
        return task.name
