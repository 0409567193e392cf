"""The task runner: starts, accepts tasks from any thread, and stops."""

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
"""The runner of the task that this code runs in."""


class TaskRunner(Submitter):
    """Runs submitted callables in this process, within limits, the most urgent first.

    Use it once, as an async context manager. Inside the block `submit` works from any thread. On
    exit only running tasks may still submit; tasks that have not ended after
    `settings.drain_timeout` seconds are cancelled and named in the log.

    A task sees the context variables of its submitter. A variable that the submitter has not set
    has its value from the start of the runner, and those in `provided` have the values given there.

    Durable tasks need `sessions`, which opens a database session and commits it at its end, and
    `tasks`, to be found by name; `propagator` selects the context that is stored with them.
    `wake_ups` reports at once, instead of at the next poll, that another process has added one.
    With `in_memory`, meant for tests, durable tasks run as in-memory tasks. Raises ValueError when
    two of `tasks` have the same name, and when a task that an `on_failure` or the settings name is
    not among them.
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
        self._overridden = {task: task.overridden(settings) for task in tasks}
        self.tasks = tuple(self._overridden.values())
        """The given tasks, with the overrides of the settings and the limits now in force."""
        _check_tasks(self.tasks, settings)
        self._observers = Observers(observers)
        self._propagator = propagator
        # Steps use the table's sessions unless `provided` has others; no task sees its submitter's.
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
        in_process = [task for task in self.tasks if in_memory or not task.durable]
        self._periodic = PeriodicTasks(in_process if settings.periodic else (), self.submit)
        self._poller: Poller | None = None
        self._dispatcher: Dispatcher | None = None
        self._closed: str | None = "has not been started: use `async with runner:`"
        """Why it refuses work, except from running tasks while it drains; None while it accepts."""

    async def __aenter__(self) -> Self:
        """Start: from now on `submit` works. Raises RunnerClosed the second time."""
        dispatcher = await self._start()
        if self._durable is not None:
            self._poller = Poller(self._durable, dispatcher, self._wake_ups)
            self._poller.start()
        self._periodic.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: drain for `settings.drain_timeout` seconds, then cancel the remaining tasks."""
        dispatcher = self._get_dispatcher()
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

    def end_drain(self) -> None:
        """During a shutdown, cancel at once what still runs; call it on the event loop."""
        self._get_dispatcher().end_drain()

    async def join(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the contract
        """Wait until nothing is queued, delayed or running.

        That includes the durable tasks in the table that this process may run, unless another
        process has claimed them. Raises TimeoutError after `timeout` seconds.
        """
        dispatcher = self._get_dispatcher()
        await asyncio.sleep(0)  # lets tasks arrive that other threads have submitted
        async with asyncio.timeout(timeout):
            while True:
                await dispatcher.wait_until_idle()
                if self._poller is not None and await self._poller.has_work():
                    await self._poller.loop.stepped.wait()
                elif dispatcher.idle.is_set():  # or a task that ended meanwhile added another
                    return

    def submit_call(self, call: Call) -> str:
        """Submit a call and return the task's id; every other way to submit ends here."""
        submission = self.reserve(call)
        submission.enqueue()
        return submission.id

    def reserve(self, call: Call) -> Submission:
        """Check a call and reserve capacity for it; raise what `submit` raises."""
        dispatcher = self._check_open()
        func, args, kwargs, options = call
        task = self._task_of(func)
        try:
            return self._reserve(task, task.check_arguments(args, kwargs), options)
        except TaskNotAccepted as error:
            info = TaskInfo("", task.name, task.priority)
            info.error = error
            dispatcher.on_loop(dispatcher.reject, info)
            raise

    @property
    def accepting(self) -> bool:
        """Whether new work is accepted."""
        return self._closed is None

    @property
    def store(self) -> TaskStore:
        """The table of durable tasks; RuntimeError if the runner has none."""
        return self._require_durable().store

    async def describe(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task; None unless it is durable, or waits or runs here."""
        record = None if self._durable is None else await self._durable.store.get(task_id)
        info = self._get_dispatcher().jobs.get(task_id)
        if info is None:
            return record
        if record is not None:
            return replace(record, progress=info.progress)  # newer than in the row
        return record_of(info, json.dumps(info.context.run(self._propagator.inject)))

    def snapshot(self, limit: int | None = None) -> Snapshot:
        """Return what this process is doing; call it on the event loop.

        It lists at most `limit` running and `limit` queued tasks: to list a long queue takes
        milliseconds, and to count it a tenth of that.
        """
        return self._get_dispatcher().snapshot(limit)

    def cancel(self, task_id: str) -> bool:
        """Cancel a task that waits or runs in this process; call it on the event loop.

        Returns False if the task is unknown or has ended, and for a sync function that already
        runs, since a thread cannot be stopped.
        """
        return self._get_dispatcher().cancel(task_id)

    async def cancel_anywhere(self, task_id: str) -> bool:
        """Cancel a task, also a durable one of another process; return whether it was cancelled.

        The other process notices when it next renews the lease. A sync function of a durable task
        that already runs is not interrupted, but its outcome is discarded.
        """
        if self._durable is not None and await self._durable.cancel(task_id):
            return True
        return self.cancel(task_id)

    async def retry_durable(self, task_id: str) -> bool:
        """Start over a durable task that ended without success; return False for any other."""
        if self._durable is None:
            return False
        return await self._durable.wake_after(self._durable.store.retry(task_id)) > 0

    async def retry_all(self, state: TaskState, name: str | None = None) -> int:
        """Start over all durable tasks in `state`, optionally of one name; return how many.

        Only the states in UNSUCCESSFUL have any effect.
        """
        if self._durable is None:
            return 0
        return await self._durable.wake_after(self._durable.store.retry_all(state, name))

    def types(self) -> list[TaskType]:
        """Return the tasks of the runner with their limits in force, counts and next runs."""
        return self._get_types().describe()

    async def pause(self, name: str) -> None:
        """Start no more runs of a task, in any process; those in progress go on.

        The pause lasts until `resume`, also across a restart if the runner has a table. Other
        processes follow within a second. Raises UnknownTaskError if no task has this name.
        """
        await self._get_types().change(name, {"paused": True})

    async def resume(self, name: str) -> None:
        """Let a paused task start again; raises UnknownTaskError."""
        await self._get_types().change(name, {"paused": False})

    async def limit(
        self, name: str, *, max_concurrency: int | None = None, rate_limit: str | None = None
    ) -> None:
        """Set both limits of a task, in all processes; None restores what code and settings say.

        They last until they are set again, also across a restart if the runner has a table. Raises
        UnknownTaskError, and ValueError for a bad limit.
        """
        limits = TaskLimits(max_concurrency=max_concurrency, rate_limit=rate_limit)
        await self._get_types().change(name, limits.model_dump())

    async def bring_forward(self) -> int:
        """Make delayed tasks, but not periodic ones, due now; return how many. Meant for tests."""
        number = self._get_dispatcher().bring_forward()
        if self._durable is not None:
            number += await self._durable.store.bring_forward()
            self._durable.loop.wake()  # also for what `enqueue` has added
        return number

    async def _start(self) -> Dispatcher:
        """Accept work from now on, on this event loop; raise RunnerClosed the second time."""
        if self._dispatcher is not None:
            msg = "a task runner cannot be started twice; create a new one"
            raise RunnerClosed(msg)
        self._dispatcher = dispatcher = Dispatcher(
            self.settings, self._capacity, self._observers, self._provided, self._submit_on_failure
        )
        self._closed = None
        await self._types.start(dispatcher)
        return dispatcher

    def _get_dispatcher(self) -> Dispatcher:
        """Return the dispatcher; raise RunnerClosed before the start."""
        if self._dispatcher is None:
            msg = f"the task runner {self._closed}"
            raise RunnerClosed(msg)
        return self._dispatcher

    def _get_types(self) -> TaskTypes:
        self._get_dispatcher()
        return self._types

    def _check_open(self) -> Dispatcher:
        """Return the dispatcher; raise RunnerClosed if the calling code may not submit."""
        dispatcher = self._get_dispatcher()
        draining = self._closed is DRAINING and not dispatcher.closed
        if self._closed is not None and not (draining and _current_runner.get() is self):
            msg = f"the task runner {self._closed}"
            raise RunnerClosed(msg)
        return dispatcher

    def _task_of(self, func: Callable[..., Any]) -> Task[..., Any]:
        return self._overridden.get(func, func) if isinstance(func, Task) else PlainTask(func)

    def _reserve(self, task: Task[..., Any], arguments: Arguments, options: Options) -> Submission:
        if task.durable and not self._in_memory:
            # A running task has been accepted, so what it adds is accepted even by a full queue.
            in_task = _current_runner.get() is self
            return self._require_durable().reserve(task, arguments, options, even_if_full=in_task)
        if options.key is not None and isinstance(task, PlainTask):
            msg = f"only a decorated task can have a key: decorate {task.name} with @task"
            raise ValueError(msg)
        group = None if isinstance(task, PlainTask) else task.limit_group(arguments)
        if not self._capacity.reserve():
            raise QueueFull(task.name, self._capacity.limit)
        task_id, timeout = task.id_of(options.key), self.settings.default_timeout
        job = Job(task_id, task, arguments, options, timeout)
        job.limit_group = group
        enqueue = partial(self._get_dispatcher().on_loop, self._enqueue, job, options)
        return Submission(job.id, enqueue, self._capacity.release)

    def _enqueue(self, job: Job, options: Options) -> None:
        job.delay = options.seconds_until_due()  # only now, since the request took time
        self._get_dispatcher().enqueue(job)

    def _require_durable(self) -> DurableTasks:
        if self._durable is None:
            raise RuntimeError(NO_SESSIONS)
        return self._durable

    def _submit_on_failure(self, job: Job, state: TaskState) -> None:
        """Submit the `on_failure` of an in-memory task that failed, if it has one.

        Not if the shutdown cancelled the task: it is too late for another. A refusal is logged.
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
    """Return the runner of the current task, which can submit further tasks to it.

    Raises RunnerClosed outside a task.
    """
    runner = _current_runner.get()
    if runner is None:
        msg = "there is no current runner: this code does not run in a task"
        raise RunnerClosed(msg)
    return runner


def _check_tasks(tasks: Sequence[Task[..., Any]], settings: TaskSettings) -> None:
    counts = Counter(task.name for task in tasks)
    duplicates = [name for name, count in counts.items() if count > 1]
    if duplicates:
        names = ", ".join(duplicates)
        msg = f"more than one task is called {names}: give them names, @task(name=...)"
        raise ValueError(msg)
    for task in tasks:  # else the row of a durable on_failure would stay in the table
        if task.on_failure and task.on_failure.name not in counts:
            msg = f"{task.on_failure.name}, the on_failure of {task.name}, is in no list of tasks"
            raise ValueError(msg)
    settings.check_overrides(counts)
