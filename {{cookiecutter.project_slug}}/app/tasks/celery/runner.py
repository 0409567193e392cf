"""The Celery engine: publishes tasks for workers, and runs on a worker what messages bring."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Self

from ..arguments import Arguments
from ..context import NO_PROPAGATION, Propagator
from ..durable.reader import Sessions
from ..errors import ArgumentError, QueueFull, UnknownTaskError
from ..info import Snapshot, TaskRecord
from ..observers import TaskObserver
from ..options import Options, Submission
from ..runner import CLOSED, DRAINING, NO_SESSIONS, TaskRunner
from ..settings import TaskSettings
from ..task import PlainTask, Task
from .broker import make_celery
from .durable import AnnouncedTasks
from .execution import Limits, MessageExecutor, Outcome
from .limits import SharedLimits
from .message import Message
from .publisher import BrokerUnavailable, Publisher
from .settings import CelerySettings
from .states import TaskStates

logger = logging.getLogger(__name__)

_LAST_SECONDS = 2.0
"""Seconds at the end of a shutdown for what came at the end of the drain."""
_RETRY_AFTER = 2
"""Seconds after which a caller may try again."""


class CeleryRunner(TaskRunner):
    """Publishes tasks for Celery workers; in a worker it also runs them.

    The same calls, tasks, observers and settings as `TaskRunner`. Decorated tasks only, and those
    among `tasks`, since a worker must find them by name. Raises BrokerUnavailable from `submit`
    while the broker is away, but for durable tasks; and ValueError when two of `tasks` have the
    same name, or the settings do not fit the tasks.
    """

    def __init__(
        self,
        settings: TaskSettings,
        observers: Sequence[TaskObserver] = (),
        *,
        celery_settings: CelerySettings,
        tasks: Iterable[Task[..., Any]] = (),
        sessions: Sessions | None = None,
        propagator: Propagator = NO_PROPAGATION,
        provided: Mapping[ContextVar[Any], Any] | None = None,
    ) -> None:
        # A worker runs no more tasks than it has slots, in threads or not.
        settings = settings.model_copy(update={"max_threads": settings.max_concurrency})
        super().__init__(
            settings,
            observers,
            tasks=tasks,
            sessions=sessions,
            propagator=propagator,
            provided=provided,
        )
        if periodic := [one.name for one in self.tasks if one.schedule and not one.durable]:
            msg = f"a schedule on workers needs durable=True: {', '.join(periodic)}"
            raise ValueError(msg)
        self._by_name = {task.name: task for task in self.tasks}
        self._states, self._shared = None, None
        if (url := celery_settings.shared_store) is not None:
            timing = celery_settings.result_expires, celery_settings.publish_timeout
            self._states = TaskStates(url, *timing)
            self._shared = SharedLimits(url, celery_settings.queue, settings.lease)
        self._limits = Limits(self._shared)
        self._publisher = Publisher(
            make_celery(celery_settings, settings, self.tasks), self._states
        )
        self._messages = MessageExecutor(
            settings, self._by_name, propagator, self._limits, self._states, self._publisher.put
        )
        self._announced: AnnouncedTasks | None = None

    async def __aenter__(self) -> Self:
        """Start, and seek the broker; it may come later."""
        dispatcher = await self._start()
        if self._states is not None and self._shared is not None:
            self._states.start()
            self._shared.start()
        await asyncio.to_thread(self._publisher.start)
        if self._durable is not None:
            self._announced = AnnouncedTasks(
                self._durable, dispatcher, self._publisher, self._limits
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: what runs here ends as in process, and what the broker has not got is sent."""
        dispatcher = self._started()
        self._closed = DRAINING
        end = monotonic() + self.settings.drain_timeout
        try:
            await dispatcher.drain(self.settings.drain_timeout)
            await asyncio.to_thread(self._publisher.wait_until_empty, max(end - monotonic(), 0.0))
        finally:
            self._closed = CLOSED
            if self._durable is not None:
                await self._durable.stop()
            dispatcher.close()
            await self._send_the_rest()
            if self._states is not None and self._shared is not None:
                await self._shared.close()
                await self._states.close()

    async def join(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the contract
        """Wait until nothing runs in this process and the broker has every task."""
        async with asyncio.timeout(timeout):
            await asyncio.sleep(0)  # let in what other threads have submitted by now
            await self._started().wait_until_idle()
            while self._announced is not None and await self._announced.has_work():
                await self._announced.loop.next_step()
            await asyncio.to_thread(self._publisher.wait_until_empty, timeout)

    async def cancel_anywhere(self, task_id: str) -> bool:
        """Cancel a task unless it has ended, or runs on another worker and is not durable.

        Raises StatesUnavailable if it is neither durable nor here, and Redis cannot be asked.
        """
        if await super().cancel_anywhere(task_id):
            return True
        if self._states is None:
            return False
        unsent = self._publisher.find(task_id)
        return await asyncio.to_thread(self._states.cancel, task_id, unsent)

    async def describe(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task that is durable or runs here, or what its worker told.

        Raises StatesUnavailable if it is neither durable nor here, and Redis cannot be asked.
        """
        return await super().describe(task_id) or await self._told_of(task_id)

    def snapshot(self, limit: int | None = None) -> Snapshot:
        """Return what this process is doing; tasks that the broker has are not in it."""
        snapshot = super().snapshot(limit)
        queued = snapshot.queued + self._publisher.pending
        return replace(snapshot, queued=queued, runs_elsewhere=True)

    async def execute(self, message: Message) -> Outcome:
        """Run the task of `message` here, once."""
        if not self.accepting or message.delay > 0:  # not here, or not yet
            return Outcome(next=message)
        if message.durable:
            if self._announced is None:
                raise RuntimeError(NO_SESSIONS)
            await self._announced.run(message.id)
            return Outcome()
        return await self._messages.run(message, self._started())

    def _task_of(self, func: Callable[..., Any]) -> Task[..., Any]:
        if not isinstance(func, Task):
            name = PlainTask(func).name
            msg = f"{name} cannot be sent to a worker: decorate it with @task, at module level"
            raise ArgumentError(msg)
        if func.name not in self._by_name:
            msg = f"no worker would find the task {func.name}: list it in the tasks of its feature"
            raise UnknownTaskError(msg)
        return self._by_name[func.name]

    def _reserve(self, task: Task[..., Any], arguments: Arguments, options: Options) -> Submission:
        if task.durable:
            return super()._reserve(task, arguments, options)
        if options.key is not None:
            msg = f"a key needs a row: make {task.name} durable to give it one on workers"
            raise ValueError(msg)
        if not self._publisher.available:
            msg = f"the broker cannot be reached; {task.name} was not accepted"
            raise BrokerUnavailable(msg, _RETRY_AFTER)
        message = Message.of_call(task, arguments, options, self._propagator.inject())
        if not self._capacity.reserve():
            raise QueueFull(task.name, self._capacity.limit)
        enqueue = partial(self._publisher.put, message, self._capacity.release)
        return Submission(message.id, enqueue, self._capacity.release)

    async def _told_of(self, task_id: str) -> TaskRecord | None:
        unsent = self._publisher.find(task_id)  # first: it may be sent while Redis is asked
        if self._states is None:
            return unsent
        return await asyncio.to_thread(self._states.get, task_id) or unsent

    async def _send_the_rest(self) -> None:
        seconds = min(_LAST_SECONDS, self.settings.drain_timeout)
        unsent = await asyncio.to_thread(self._publisher.stop, seconds)
        if lost := [message for message in unsent if not message.durable]:  # rows stay
            names = ", ".join(f"{message.name} ({message.id})" for message in lost)
            logger.error("%d tasks never reached the broker: %s", len(lost), names)
