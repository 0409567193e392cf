"""The in-process engine: accepts tasks from anywhere, starts and stops."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any, Self

from .arguments import Arguments
from .context import NO_PROPAGATION, Propagator
from .durable.poller import Poller, WakeUps
from .durable.reader import Sessions
from .engine import CLOSED, DRAINING, TaskEngine
from .errors import QueueFull
from .job import Job
from .observers import TaskObserver
from .options import Options, Submission
from .periodic import PeriodicTasks
from .settings import TaskSettings
from .task import PlainTask, Task


class TaskRunner(TaskEngine):
    """Runs submitted callables in this process, within limits, the most urgent first.

    Use it as an async context manager. Inside, `submit` works from any thread. On exit nothing
    new is accepted but what the running tasks submit; what has not ended after
    `settings.drain_timeout` seconds is cancelled and named in the log.

    A task sees the context variables of its submitter and, below them, those that were set when
    the runner was started. Those of `provided` have its values, whatever the submitter's are.

    Durable tasks need `sessions`, which opens a database session that commits at its end; `tasks`,
    in which they are found by name; and `propagator` for what is to survive of the context.
    `wake_ups` tells at once, instead of at the next poll, that another process has added one. With
    `in_memory`, meant for tests, they run like all others. Raises ValueError when two of `tasks`
    have the same name, and when the settings override or claim one that is not among them.
    """

    def __init__(
        self,
        settings: TaskSettings,
        observers: Sequence[TaskObserver] = (),
        *,
        tasks: Iterable[Task[..., Any]] = (),
        sessions: Sessions | None = None,
        propagator: Propagator = NO_PROPAGATION,
        provided: Mapping[ContextVar[Any], Any] = MappingProxyType({}),
        wake_ups: WakeUps | None = None,
        in_memory: bool = False,
    ) -> None:
        tasks = tuple(tasks)
        super().__init__(settings, observers, tasks, sessions, propagator, provided)
        self._own = dict(zip(tasks, self.tasks, strict=True))
        self._in_memory = in_memory
        self._poller: Poller | None = None
        self._wake_ups = wake_ups
        in_process = (task for task in self.tasks if in_memory or not task.durable)
        self._periodic = PeriodicTasks(in_process, self.submit)

    async def __aenter__(self) -> Self:
        """Start: from here on `submit` works. Raises RunnerClosed the second time."""
        dispatcher = await self._start()
        if self._durable is not None:
            self._poller = Poller(self._durable, dispatcher, self._wake_ups)
            self._poller.start()
        self._periodic.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: drain for `settings.drain_timeout` seconds, then cancel what is left."""
        dispatcher = self._started()
        self._closed = DRAINING
        self._periodic.stop()
        if self._poller is not None:
            self._poller.stop_claiming()
        try:
            await dispatcher.drain(self.settings.drain_timeout)
        finally:
            self._closed = CLOSED
            if self._poller is not None:
                await self._poller.stop()
            dispatcher.close()

    async def join(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the contract
        """Wait until nothing is queued, delayed or running.

        That includes the durable tasks in the table that this process may run, unless another has
        them. Raises TimeoutError when it takes longer than `timeout` seconds.
        """
        dispatcher = self._started()
        await asyncio.sleep(0)  # let in what other threads have submitted by now
        async with asyncio.timeout(timeout):
            await dispatcher.wait_until_idle()
            while await self._has_work():
                await dispatcher.wait_until_idle()

    async def bring_forward(self) -> int:
        """Let what waits for its time be due now, periodic tasks apart; return how many did.

        That is delayed tasks, retries and snoozes. Meant for tests.
        """
        forward = self._started().bring_forward()
        if self._durable is None:
            return forward
        return forward + await self._durable.expect_some(self._durable.store.bring_forward())

    def _task_of(self, func: Callable[..., Any]) -> Task[..., Any]:
        if isinstance(func, Task):
            return self._own.get(func) or func.overridden(self.settings)
        return PlainTask(func)

    def _reserve(self, task: Task[..., Any], arguments: Arguments, options: Options) -> Submission:
        if task.durable and not self._in_memory:
            return self._reserve_durable(task, arguments, options)
        if options.key is not None and isinstance(task, PlainTask):
            msg = f"a key needs a task whose name is its own: decorate {task.name} with @task"
            raise ValueError(msg)
        group = None if isinstance(task, PlainTask) else task.limit_group(arguments)
        if not self._capacity.reserve():
            raise QueueFull(task.name, self._capacity.limit)
        job = Job(task, arguments, options, self.settings.default_timeout)
        job.limit_group = group
        enqueue = partial(self._started().on_loop, self._enqueue, job, options)
        return Submission(job.id, enqueue, self._capacity.release)

    def _enqueue(self, job: Job, options: Options) -> None:
        job.delay = options.seconds_until_due()  # now: while the request went on it may have come
        self._started().enqueue(job)

    async def _has_work(self) -> bool:
        if self._poller is not None and await self._poller.has_work():
            await self._poller.loop.next_step()
            return True
        # While the table was asked, the last of its tasks may have ended and added one in memory.
        return not self._started().idle.is_set()
