"""The in-process engine: accepts tasks from anywhere, starts and stops, and builds its parts."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Self

from .arguments import Arguments
from .context import RunContext, runs_inside
from .dispatcher import Dispatcher
from .durable.outbox import current_outbox
from .durable.poller import Poller, WakeUps
from .durable.reader import Sessions
from .durable.store import TaskStore
from .durable.tasks import DurableTasks
from .engine import Submission, TaskEngine
from .errors import QueueFull
from .info import Snapshot, TaskInfo, TaskRecord, TaskState
from .job import Job
from .lifecycle import Lifecycle
from .limits import Capacity, Limiters
from .observers import Observers, TaskObserver
from .options import Options
from .overrides import overridden, overridden_tasks
from .periodic import PeriodicTasks
from .propagation import NO_PROPAGATION, Propagator
from .settings import TaskSettings
from .task import PlainTask, Task
from .task_types import TaskTypes

NO_SESSIONS = "the runner was made without `sessions`: it has no durable tasks"


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
        self.settings = settings
        tasks = tuple(tasks)
        self.tasks = overridden_tasks(tasks, settings)
        self._own = dict(zip(tasks, self.tasks, strict=True))
        self._in_memory = in_memory
        self._provided = {**provided, current_outbox: None}  # not the session of the submitter
        self._observers = Observers(observers)
        self._capacity = Capacity(settings.queue_size)
        self._limiters = Limiters(settings.max_threads)
        self._types: TaskTypes = TaskTypes(self.tasks, self._limiters)
        self._durable: DurableTasks | None = None
        self._poller: Poller | None = None
        if sessions is not None:
            self._durable = DurableTasks(
                settings, self.tasks, sessions, propagator, self._capacity, self._limiters
            )
            self._types = self._durable.types
        self._wake_ups = wake_ups
        in_process = (task for task in self.tasks if in_memory or not task.durable)
        self._periodic = PeriodicTasks(in_process, self.submit)
        self._lifecycle = Lifecycle(self)
        self._dispatcher: Dispatcher | None = None

    async def __aenter__(self) -> Self:
        """Start: from here on `submit` works. Raises RunnerClosed the second time."""
        self._loop = asyncio.get_running_loop()
        self._dispatcher = dispatcher = self._lifecycle.start(self._make_dispatcher)
        await self._types.start(dispatcher)
        if self._durable is not None:
            self._poller = Poller(self._durable, dispatcher, self._limiters, self._wake_ups)
            self._poller.start()
        self._periodic.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: drain for `settings.drain_timeout` seconds, then cancel what is left."""
        dispatcher = self._lifecycle.dispatcher
        self._lifecycle.shut_down()
        self._periodic.stop()
        if self._poller is not None:
            self._poller.stop_claiming()
        try:
            await dispatcher.drain(self.settings.drain_timeout)
        finally:
            self._lifecycle.close()
            if self._poller is not None:
                await self._poller.stop()
            dispatcher.close()

    @property
    def accepting(self) -> bool:
        """Whether new work is accepted."""
        return self._lifecycle.accepting

    async def join(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the contract
        """Wait until nothing is queued, delayed or running.

        That includes the durable tasks in the table that this process may run, unless another has
        them. Raises TimeoutError when it takes longer than `timeout` seconds.
        """
        dispatcher = self._lifecycle.dispatcher
        await asyncio.sleep(0)  # let in what other threads have submitted by now
        async with asyncio.timeout(timeout):
            await dispatcher.wait_until_idle()
            while await self._has_work(dispatcher):
                await dispatcher.wait_until_idle()

    def cancel(self, task_id: str) -> bool:
        """Cancel a queued or running task; call it on the event loop.

        Returns False when the task is unknown, has ended, or is a sync function that already
        runs: a thread cannot be stopped.
        """
        return self._lifecycle.dispatcher.cancel(task_id)

    async def cancel_durable(self, task_id: str) -> bool:
        """Cancel a durable task, whichever process has it; False if it is unknown or has ended.

        Another process learns of it when it next renews its lease. A sync function that already
        runs goes on to its end, of which nothing is kept.
        """
        return self._durable is not None and await self._durable.cancel(task_id)

    async def cancel_anywhere(self, task_id: str) -> bool:
        """Cancel a task, durable or not; False if it has ended or cannot be stopped."""
        return await self.cancel_durable(task_id) or self.cancel(task_id)

    async def retry_durable(self, task_id: str) -> bool:
        """Let a durable task that ended without success start over; False if it is not one."""
        return self._durable is not None and await self._durable.retry(task_id)

    async def retry_all(self, state: TaskState, name: str | None = None) -> int:
        """Let all durable tasks in a state, perhaps of one name, start over; return how many."""
        return 0 if self._durable is None else await self._durable.retry_all(state, name)

    async def record(self, task_id: str) -> TaskRecord | None:
        """Return the row of a durable task."""
        return None if self._durable is None else await self._durable.store.get(task_id)

    def find(self, task_id: str) -> TaskInfo | None:
        """Return what is known of a task that waits or runs in this process."""
        return self._lifecycle.dispatcher.find(task_id)

    def snapshot(self, limit: int | None = None) -> Snapshot:
        """Return what the runner is doing; call it on the event loop.

        With `limit` it lists no more than so many running and so many queued tasks: a long queue
        takes milliseconds to list and a tenth of that to count.
        """
        return self._lifecycle.dispatcher.snapshot(limit)

    @property
    def store(self) -> TaskStore:
        """The table of durable tasks; RuntimeError if the runner has none."""
        if self._durable is None:
            raise RuntimeError(NO_SESSIONS)
        return self._durable.store

    def reserve(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
    ) -> Submission:
        """Check a call and reserve capacity for it; raises what `submit` raises."""
        self._lifecycle.check_open()
        task: Task[..., Any] | PlainTask = (
            self._own.get(func) or overridden(func, self.settings)
            if isinstance(func, Task)
            else PlainTask(func)
        )
        arguments = task.check_arguments(args, kwargs)
        if isinstance(task, Task) and task.durable and not self._in_memory:
            return self._reserve_durable(task, arguments, options)
        limiters = self._limiters.of(task, task.limit_group(arguments))
        if options.key is not None and not isinstance(task, Task):
            msg = f"a key needs a task whose name is its own: decorate {task.name} with @task"
            raise ValueError(msg)
        job = Job(task, arguments, options, limiters, self.settings.default_timeout)
        if not self._capacity.reserve():
            self._lifecycle.on_loop(self._lifecycle.dispatcher.reject, job)
            raise QueueFull(job.name, self._capacity.limit)
        return _Submission(self, job)

    def enqueue(self, job: Job) -> None:
        """Let a job for which capacity is reserved take its turn."""
        self._lifecycle.on_loop(self._lifecycle.dispatcher.enqueue, job)

    def release(self) -> None:
        """Free the capacity of a job that is not to run."""
        self._capacity.release()

    async def _has_work(self, dispatcher: Dispatcher) -> bool:
        if self._poller is not None and await self._poller.has_work():
            await self._poller.loop.next_step()
            return True
        # While the table was asked, the last of its tasks may have ended and added one in memory.
        return not dispatcher.idle.is_set()

    def _make_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self.settings.max_concurrency,
            self.settings.aging,
            self._capacity,
            self._observers,
            RunContext(self, self._provided),
        )

    def _reserve_durable(
        self, task: Task[..., Any], arguments: Arguments, options: Options
    ) -> Submission:
        if self._durable is None:
            raise RuntimeError(NO_SESSIONS)
        try:
            # What a running task adds was promised before: it is kept even if the queue is full.
            return self._durable.reserve(task, arguments, options, regardless=runs_inside(self))
        except QueueFull:
            self._lifecycle.on_loop(
                self._lifecycle.dispatcher.reject, TaskInfo("", task.name, task.priority or 0)
            )
            raise


class _Submission:
    """A job in memory for which capacity is reserved."""

    __slots__ = ("_job", "_runner", "id")

    def __init__(self, runner: TaskRunner, job: Job) -> None:
        self.id = job.id
        self._runner = runner
        self._job = job

    def enqueue(self) -> None:
        self._runner.enqueue(self._job)

    def release(self) -> None:
        self._runner.release()
