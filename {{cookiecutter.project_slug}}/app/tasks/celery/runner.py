"""The Celery engine: publishes tasks for workers, and on a worker runs the tasks of messages."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from ..arguments import Arguments
from ..errors import ArgumentError, QueueFull, UnknownTaskError
from ..info import Snapshot, TaskRecord
from ..observers import TaskObserver
from ..options import Options, Submission
from ..runner import CLOSED, DRAINING, NO_SESSIONS, TaskRunner
from ..settings import TaskSettings
from ..task import PlainTask, Task
from .broker import make_celery
from .durable import AnnouncedTasks
from .execution import MessageExecutor
from .limits import WorkerLimits
from .message import Message
from .publisher import BrokerUnavailable, Publisher
from .settings import CelerySettings
from .states import TaskStates

_LAST_SECONDS = 2.0
"""Seconds that a shutdown has at least to send messages that came at the end of the drain."""


class CeleryRunner(TaskRunner):
    """Publishes tasks for Celery workers; in a worker it also runs them.

    Calls, tasks, observers, settings and `options` are those of `TaskRunner`. It accepts only
    decorated tasks that are among `tasks`, since a worker must find them by name. While the broker
    is away, `submit` raises BrokerUnavailable, except for durable tasks. Raises ValueError also if
    the settings do not fit the tasks.
    """

    def __init__(
        self,
        settings: TaskSettings,
        observers: Sequence[TaskObserver] = (),
        *,
        celery_settings: CelerySettings,
        **options: Any,
    ) -> None:
        # A worker runs no more tasks than it has slots, whether in threads or not.
        settings = settings.model_copy(update={"max_threads": settings.max_concurrency})
        super().__init__(settings, observers, **options)
        if periodic := [task.name for task in self.tasks if task.schedule and not task.durable]:
            msg = f"a schedule on workers needs durable=True: {', '.join(periodic)}"
            raise ValueError(msg)
        self._redis = _connect(celery_settings)
        self._states = TaskStates(self._redis, celery_settings.result_expires)
        self._limits = WorkerLimits(self._redis, celery_settings.queue, settings.lease)
        self._publisher = Publisher(
            make_celery(celery_settings, settings, self.tasks), self._states
        )
        self._announced: AnnouncedTasks | None = None

    async def __aenter__(self) -> Self:
        """Start, and check for the broker, which may become available later."""
        dispatcher = await self._start()
        self._limits.start()
        await self._publisher.start()
        self._messages = MessageExecutor(
            self.settings,
            {task.name: task for task in self.tasks},
            self._propagator,
            dispatcher,
            self._limits,
            self._states,
            self._publisher.put,
        )
        if self._durable is not None:
            self._announced = AnnouncedTasks(
                self._durable, dispatcher, self._publisher, self._limits
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: drain as `TaskRunner` does, then send the messages that the broker still lacks."""
        dispatcher = self._get_dispatcher()
        self._closed = DRAINING
        end = monotonic() + self.settings.drain_timeout
        try:
            await dispatcher.drain(self.settings.drain_timeout)
        finally:
            self._closed = CLOSED
            if self._durable is not None:
                await self._durable.stop()
            dispatcher.close()
            await self._publisher.stop(max(end - monotonic(), _LAST_SECONDS))
            self._limits.close()
            await self._states.flush()
            if self._redis is not None:
                await self._redis.aclose()

    async def join(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the contract
        """Wait until nothing runs in this process and the broker has every task."""
        async with asyncio.timeout(timeout):
            await asyncio.sleep(0)  # let in what other threads have submitted by now
            await self._get_dispatcher().wait_until_idle()
            while self._announced is not None and await self._announced.has_work():
                await self._announced.loop.stepped.wait()
            await self._publisher.idle.wait()

    async def cancel_anywhere(self, task_id: str) -> bool:
        """Cancel a task unless it has ended, or is an in-memory task that another worker runs.

        Raises StatesUnavailable if it is neither durable nor here, and Redis does not answer.
        """
        if await super().cancel_anywhere(task_id):
            return True
        return await self._states.cancel(task_id, self._publisher.find(task_id))

    async def describe(self, task_id: str) -> TaskRecord | None:
        """Return the record of a task: of the table, this process, Redis, or an unsent message.

        Raises StatesUnavailable if it is neither durable nor here, and Redis does not answer.
        """
        if record := await super().describe(task_id):
            return record
        unsent = self._publisher.find(task_id)  # first: it may be sent while Redis is read
        return await self._states.get(task_id) or unsent

    def snapshot(self, limit: int | None = None) -> Snapshot:
        """Return what this process is doing; tasks in the broker are not included."""
        snapshot = super().snapshot(limit)
        queued = snapshot.queued + len(self._publisher.waiting)
        return replace(snapshot, queued=queued, runs_elsewhere=True)

    async def execute(self, message: Message) -> Message | None:
        """Run the task of `message` here, once.

        Returns the message to send before this one is acknowledged, if any. Raises TaskFailed, and
        Ignore for a durable task that has not ended here.
        """
        if not self.accepting or message.delay > 0:  # another worker runs it, or it is not due
            return message
        if message.durable:
            if self._announced is None:
                raise RuntimeError(NO_SESSIONS)
            await self._announced.run(message.id)
            return None
        return await self._messages.run(message)

    def _task_of(self, func: Callable[..., Any]) -> Task[..., Any]:
        task = super()._task_of(func)
        if isinstance(task, PlainTask):
            msg = f"{task.name} cannot be sent to a worker: decorate it with @task at module level"
            raise ArgumentError(msg)
        if task not in self.tasks:
            msg = f"no worker would find the task {task.name}: list it in the tasks of its feature"
            raise UnknownTaskError(msg)
        return task

    def _reserve(self, task: Task[..., Any], arguments: Arguments, options: Options) -> Submission:
        if task.durable:
            return super()._reserve(task, arguments, options)
        if options.key is not None:
            msg = f"on workers only durable tasks have keys: make {task.name} durable"
            raise ValueError(msg)
        if not self._publisher.available:
            msg = f"the broker cannot be reached; {task.name} was not accepted"
            raise BrokerUnavailable(msg)
        message = Message.of_call(task, arguments, options, self._propagator.inject())
        if not self._capacity.reserve(waiting_elsewhere=len(self._publisher.waiting)):
            raise QueueFull(task.name, self._capacity.limit)
        enqueue = partial(self._get_dispatcher().on_loop, self._enqueue_message, message)
        return Submission(message.id, enqueue, self._capacity.release)

    def _enqueue_message(self, message: Message) -> None:
        self._capacity.release()  # from here on the publisher's `waiting` counts it
        self._publisher.put(message)


def _connect(settings: CelerySettings) -> Redis | None:
    """Return a client of the Redis that holds limits and states, if there is one."""
    if settings.shared_store is None:
        return None
    timeouts = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), settings.publish_timeout)
    # It waits for a connection, where the ordinary pool fails once a hundred are in use. Retries
    # once, because a connection that Redis has closed meanwhile only fails at its next use.
    pool = BlockingConnectionPool.from_url(
        settings.shared_store,
        decode_responses=True,
        retry=Retry(NoBackoff(), 1, (RedisConnectionError,)),
        **timeouts,
    )
    return Redis.from_pool(pool)
