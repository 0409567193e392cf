"""The task runner: accepts tasks from anywhere, starts and stops."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, Self

from .arguments import Arguments
from .context import NO_PROPAGATION, Propagator
from .dispatcher import Dispatcher
from .durable.outbox import current_session
from .durable.poller import Poller, WakeUps
from .durable.reader import Sessions
from .durable.steps import step_sessions
from .durable.store import TaskStore
from .durable.tasks import DurableTasks
from .errors import QueueFull, RunnerClosed, TaskNotAccepted
from .info import FailedTask, Snapshot, TaskInfo, TaskRecord, TaskState, TaskType, record_of
from .job import Job, Stop
from .limits import Capacity
from .observers import Observers, TaskObserver
from .options import Call, Options, Submission, Submitter
from .periodic import PeriodicTasks
from .redaction import describe_error
from .settings import TaskLimits, TaskSettings
from .task import PlainTask, Task
from .task_types import TaskTypes

logger = logging.getLogger(__name__)

NO_SESSIONS = "the runner was made without `sessions`: it has no durable tasks"
DRAINING, CLOSED = "is shutting down", "has been closed"

_current_runner: ContextVar["TaskRunner | None"] = ContextVar("current_runner", default=None)
"""That whose task the code belongs to."""


class TaskRunner(Submitter):
    """Runs submitted callables in this process, within limits, the most urgent first.

    Use it as an async context manager, once. Inside, `submit` works from any thread. On exit
    nothing new is accepted but what the running tasks submit; what has not ended after
    `settings.drain_timeout` seconds is cancelled and named in the log.

    A task sees the context variables of its submitter and, below them, those that were set when
    the runner was started. Those of `provided` have its values, whatever the submitter's are.

    Durable tasks need `sessions`, which opens a database session that commits at its end; `tasks`,
    in which they are found by name; and `propagator` for what is to survive of the context.
    `wake_ups` tells at once, instead of at the next poll, that another process has added one. With
    `in_memory`, meant for tests, they run like all others. Raises ValueError when two of `tasks`
    have the same name, and when an `on_failure`, or what the settings override or claim, is not
    among them.
    """

    def __init__(
        self,
        settings: TaskSettings,
        observers: Sequence[TaskObserver] = (),
        *,
        tasks: Iterable[Task[..., Any]] = (),
        sessions: Sessions | None = None,
        propagator: Propagator = NO_PROPAGATION,
        provided: Mapping[ContextVar[Any], Any] | None = None,
        wake_ups: WakeUps | None = None,
        in_memory: bool = False,
    ) -> None:
        self.settings = settings
        self._own = {task: task.overridden(settings) for task in tasks}
        self.tasks = tuple(self._own.values())
        """The tasks it was made with, as the settings have them and with the limits in force."""
        _check_tasks(self.tasks, settings)
        self._observers = Observers(observers)
        self._propagator = propagator
        # Steps have the sessions of the table unless others are given; no task has its submitter's.
        self._provided: dict[ContextVar[Any], Any] = {step_sessions: sessions}
        self._provided |= {**(provided or {}), current_session: None, _current_runner: self}
        self._capacity = Capacity(settings.queue_size)
        self._types = TaskTypes(self.tasks, sessions)
        self._durable: DurableTasks | None = None
        if sessions is not None:
            self._durable = DurableTasks(
                settings, self.tasks, self._types, sessions, propagator, self._capacity
            )
        self._wake_ups = wake_ups
        self._in_memory = in_memory
        in_process = (task for task in self.tasks if in_memory or not task.durable)
        self._periodic = PeriodicTasks(in_process, self.submit)
        self._poller: Poller | None = None
        self._dispatcher: Dispatcher | None = None
        self._closed: str | None = "has not been started: use `async with runner:`"
        """Why nothing is accepted, but from running tasks while it drains; None while it is."""

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
            while True:
                await dispatcher.wait_until_idle()
                if self._poller is not None and await self._poller.has_work():
                    await self._poller.loop.next_step()
                elif dispatcher.idle.is_set():  # or a task has ended meanwhile, and added another
                    return

    def submit_call(self, call: Call) -> str:
        """Do the work of all ways to submit."""
        submission = self.reserve(call)
        submission.enqueue()
        return submission.id

    def reserve(self, call: Call) -> Submission:
        """Check a call and reserve capacity for it; raises what `submit` raises."""
        dispatcher = self._open()
        func, args, kwargs, options = call
        task = self._task_of(func)
        arguments = task.check_arguments(args, kwargs)
        try:
            return self._reserve(task, arguments, options)
        except TaskNotAccepted:
            dispatcher.on_loop(dispatcher.reject, TaskInfo("", task.name, task.priority))
            raise

    @property
    def accepting(self) -> bool:
        """Whether new work is accepted."""
        return self._closed is None

    @property
    def store(self) -> TaskStore:
        """The table of durable tasks; RuntimeError if the runner has none."""
        return self._with_table().store

    async def describe(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task that is durable, or waits or runs here.

        The progress is that of now if it runs here.
        """
        record = None if self._durable is None else await self._durable.store.get(task_id)
        info = self._started().jobs.get(task_id)
        if info is None:
            return record
        if record is not None:
            return replace(record, progress=info.progress)
        return record_of(info, json.dumps(info.context.run(self._propagator.inject)))

    def snapshot(self, limit: int | None = None) -> Snapshot:
        """Return what this process is doing; call it on the event loop.

        With `limit` it lists no more than so many running and so many queued tasks: a long queue
        takes milliseconds to list and a tenth of that to count.
        """
        return self._started().snapshot(limit)

    def cancel(self, task_id: str) -> bool:
        """Cancel a task that waits or runs in this process; call it on the event loop.

        Returns False when the task is unknown, has ended, or is a sync function that already
        runs: a thread cannot be stopped.
        """
        return self._started().cancel(task_id)

    async def cancel_anywhere(self, task_id: str) -> bool:
        """Cancel a task, also a durable one that another process has; False if nothing is.

        That process learns of it when it next renews its lease. A sync function of a durable task
        that already runs goes on to its end, of which nothing is kept.
        """
        if self._durable is not None and await self._durable.cancel(task_id):
            return True
        return self.cancel(task_id)

    async def retry_durable(self, task_id: str) -> bool:
        """Let a durable task that ended without success start over; False if it is not one."""
        if self._durable is None:
            return False
        return await self._durable.expect_some(self._durable.store.retry(task_id)) > 0

    async def retry_all(self, state: TaskState, name: str | None = None) -> int:
        """Let all durable tasks in a state, perhaps of one name, start over; return how many.

        The state is one of those without success, or nothing happens.
        """
        if self._durable is None:
            return 0
        return await self._durable.expect_some(self._durable.store.retry_all(state, name))

    def types(self) -> list[TaskType]:
        """Return what is known of each of its tasks."""
        return self._started_types().describe()

    async def pause(self, name: str) -> None:
        """Start nothing more of a task, in any process; what runs goes on.

        It lasts until `resume`, also over a restart. Other processes follow within a second.
        Raises UnknownTaskError if no task has this name.
        """
        await self._started_types().change(name, {"paused": True})

    async def resume(self, name: str) -> None:
        """Let a paused task start again; raises UnknownTaskError."""
        await self._started_types().change(name, {"paused": False})

    async def limit(
        self, name: str, *, max_concurrency: int | None = None, rate_limit: str | None = None
    ) -> None:
        """Change both limits of a task, in all processes; None is what the settings say.

        It lasts until it is changed again, also over a restart if the runner has a table. Raises
        UnknownTaskError, and ValueError for a bad limit.
        """
        limits = TaskLimits(max_concurrency=max_concurrency, rate_limit=rate_limit)
        await self._started_types().change(name, limits.model_dump())

    async def bring_forward(self) -> int:
        """Let what waits for its time be due now, periodic tasks apart; return how many did.

        That is delayed tasks, retries and snoozes. Meant for tests.
        """
        forward = self._started().bring_forward()
        if self._durable is None:
            return forward
        return forward + await self._durable.expect_some(self._durable.store.bring_forward())

    async def _start(self) -> Dispatcher:
        """Take work from here on, on this event loop; RunnerClosed the second time."""
        if self._dispatcher is not None:
            msg = "a task runner is started once; make a new one"
            raise RunnerClosed(msg)
        self._dispatcher = dispatcher = Dispatcher(
            self.settings, self._capacity, self._observers, self._provided, self._submit_on_failure
        )
        self._closed = None
        await self._types.start(dispatcher)
        return dispatcher

    def _started(self) -> Dispatcher:
        """Return the dispatcher; raise RunnerClosed before the start."""
        if self._dispatcher is None:
            msg = f"the task runner {self._closed}"
            raise RunnerClosed(msg)
        return self._dispatcher

    def _started_types(self) -> TaskTypes:
        self._started()
        return self._types

    def _open(self) -> Dispatcher:
        """Return the dispatcher; raise RunnerClosed if the calling code may not submit."""
        dispatcher = self._started()
        draining = self._closed is DRAINING and not dispatcher.closed
        if self._closed is not None and not (draining and _current_runner.get() is self):
            msg = f"the task runner {self._closed}"
            raise RunnerClosed(msg)
        return dispatcher

    def _task_of(self, func: Callable[..., Any]) -> Task[..., Any]:
        return self._own.get(func, func) if isinstance(func, Task) else PlainTask(func)

    def _reserve(self, task: Task[..., Any], arguments: Arguments, options: Options) -> Submission:
        if task.durable and not self._in_memory:
            # What a running task adds was promised before: it is kept even if the queue is full.
            regardless = _current_runner.get() is self
            return self._with_table().reserve(task, arguments, options, regardless=regardless)
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

    def _with_table(self) -> DurableTasks:
        if self._durable is None:
            raise RuntimeError(NO_SESSIONS)
        return self._durable

    def _submit_on_failure(self, job: Job, state: TaskState) -> None:
        """Submit the `on_failure` of a failed task that lives in memory, if it has one.

        A shutdown is too late for that. What keeps it from being accepted is logged.
        """
        task = job.task
        if task.on_failure is None or job.stop is Stop.SHUTDOWN:
            return
        try:
            arguments = json.loads(task.check_arguments.to_json(job.args, job.kwargs))
            failed = FailedTask(job.id, job.name, arguments, state, describe_error(job.error))
            self.submit(task.on_failure, failed)
        except Exception:
            logger.exception("the on_failure of task %s (%s) was not accepted", job.name, job.id)


def current_runner() -> TaskRunner:
    """Return the runner of the running task, so that it can submit others.

    Raises RunnerClosed outside a task.
    """
    runner = _current_runner.get()
    if runner is None:
        msg = "there is no current runner: this code does not run in a task"
        raise RunnerClosed(msg)
    return runner


def _check_tasks(tasks: Sequence[Task[..., Any]], settings: TaskSettings) -> None:
    counts = Counter(task.name for task in tasks)
    doubles = [name for name, count in counts.items() if count > 1]
    if doubles:
        msg = f"more than one task is called {', '.join(doubles)}: give them names, @task(name=...)"
        raise ValueError(msg)
    for one in tasks:  # or the row of a durable one would be left in the table
        if one.on_failure and one.on_failure.name not in counts:
            msg = f"{one.on_failure.name}, the on_failure of {one.name}, is in no list of tasks"
            raise ValueError(msg)
    settings.check_overrides(counts)
