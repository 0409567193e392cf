"""What every task engine does, whether tasks run in this process or on workers."""

import json
import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from copy import copy
from dataclasses import replace
from typing import Any

from .arguments import Arguments
from .context import Propagator, RunContext, runner_of_task
from .dispatcher import Dispatcher
from .durable.outbox import current_session
from .durable.reader import Sessions
from .durable.steps import step_sessions
from .durable.store import TaskStore
from .durable.tasks import DurableTasks
from .errors import RunnerClosed, TaskNotAccepted
from .info import FailedTask, Snapshot, TaskInfo, TaskRecord, TaskState, TaskType, record_of
from .job import Job, Stop
from .limits import Capacity
from .observers import Observers, TaskObserver
from .options import Call, Options, Submission, Submitter
from .redaction import describe_error
from .settings import TaskLimits, TaskSettings
from .task import Task
from .task_types import TaskTypes

logger = logging.getLogger(__name__)

NO_SESSIONS = "the runner was made without `sessions`: it has no durable tasks"
DRAINING, CLOSED = "is shutting down", "has been closed"


class TaskEngine(Submitter):
    """Runs submitted callables within limits, the most urgent first.

    Use it as an async context manager, once. Raises ValueError when two of `tasks` have the same
    name, and when an `on_failure` or what the settings override is not among them.
    """

    def __init__(
        self,
        settings: TaskSettings,
        observers: Sequence[TaskObserver],
        tasks: Iterable[Task[..., Any]],
        sessions: Sessions | None,
        propagator: Propagator,
        provided: Mapping[ContextVar[Any], Any],
    ) -> None:
        self.settings = settings
        self.tasks = tuple(copy(task.overridden(settings)) for task in tasks)
        """The tasks it was made with, as the settings have them and with the limits in force."""
        _check_tasks(self.tasks, settings)
        self._observers = Observers(observers)
        self._propagator = propagator
        # Steps have the sessions of the table unless others are given; no task has its submitter's.
        self._provided = {step_sessions: sessions, **provided, current_session: None}
        self._capacity = Capacity(settings.queue_size)
        self._types = TaskTypes(self.tasks, sessions)
        self._durable: DurableTasks | None = None
        if sessions is not None:
            self._durable = DurableTasks(
                settings, self.tasks, self._types, sessions, propagator, self._capacity
            )
        self._dispatcher: Dispatcher | None = None
        self._closed: str | None = "has not been started: use `async with runner:`"
        """Why nothing is accepted, but from running tasks while it drains; None while it is."""

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

    @abstractmethod
    def _task_of(self, func: Callable[..., Any]) -> Task[..., Any]:
        """Return the task that is submitted; raises what `submit` raises."""

    @abstractmethod
    def _reserve(self, task: Task[..., Any], arguments: Arguments, options: Options) -> Submission:
        """Reserve capacity for a call whose arguments were checked."""

    def _reserve_durable(
        self, task: Task[..., Any], arguments: Arguments, options: Options
    ) -> Submission:
        # What a running task adds was promised before: it is kept even if the queue is full.
        regardless = self._runs_the_caller()
        return self._with_table().reserve(task, arguments, options, regardless=regardless)

    @abstractmethod
    async def join(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the contract
        """Wait until nothing is left to do; raise TimeoutError after `timeout` seconds."""

    @property
    def accepting(self) -> bool:
        """Whether new work is accepted."""
        return self._closed is None

    @property
    def store(self) -> TaskStore:
        """The table of durable tasks; RuntimeError if the runner has none."""
        return self._with_table().store

    async def record(self, task_id: str) -> TaskRecord | None:
        """Return what is kept of a task outside this process: the row of a durable one."""
        return None if self._durable is None else await self._durable.store.get(task_id)

    async def describe(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task that is kept outside this process, or waits or runs here.

        The progress is that of now if it runs here.
        """
        record, info = await self.record(task_id), self._started().find(task_id)
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
        await self._started_types().pause(name, paused=True)

    async def resume(self, name: str) -> None:
        """Let a paused task start again; raises UnknownTaskError."""
        await self._started_types().pause(name, paused=False)

    async def limit(
        self, name: str, *, max_concurrency: int | None = None, rate_limit: str | None = None
    ) -> None:
        """Change both limits of a task, in all processes; None is what the settings say.

        It lasts until it is changed again, also over a restart if the runner has a table. Raises
        UnknownTaskError, and ValueError for a bad limit.
        """
        limits = TaskLimits(max_concurrency=max_concurrency, rate_limit=rate_limit)
        await self._started_types().limit(name, limits)

    async def _start(self) -> Dispatcher:
        """Take work from here on, on this event loop; RunnerClosed the second time."""
        if self._dispatcher is not None:
            msg = "a task runner is started once; make a new one"
            raise RunnerClosed(msg)
        context = RunContext(self, self._provided)
        self._dispatcher = dispatcher = Dispatcher(
            self.settings, self._capacity, self._observers, context, self._submit_on_failure
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
        if self._closed is not None and not (draining and self._runs_the_caller()):
            msg = f"the task runner {self._closed}"
            raise RunnerClosed(msg)
        return dispatcher

    def _runs_the_caller(self) -> bool:
        """Say whether the calling code is a task of this engine."""
        return runner_of_task() is self

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


def current_runner() -> TaskEngine:
    """Return the runner of the running task, so that it can submit others.

    Raises RunnerClosed outside a task.
    """
    runner = runner_of_task()
    if not isinstance(runner, TaskEngine):
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
