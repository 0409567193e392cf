"""The in-process engine's front: accepts tasks from anywhere, starts and stops."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NoReturn, ParamSpec, Self, TypeVar, overload

from .arguments import Arguments
from .carrier import NOTHING_CARRIED, Carrier
from .context import Background, runs_inside
from .durable.durable import DurableTasks
from .durable.job import DurableJob
from .durable.store import Sessions, TaskRecord, TaskStore
from .engine import Engine
from .errors import QueueFull, RunnerClosed, TaskNotAccepted
from .info import Snapshot, TaskInfo
from .job import Job, Stop
from .lane import Lane
from .observer import Observers, TaskObserver
from .options import NO_OPTIONS, Options
from .places import Places
from .retry import Retry
from .settings import TaskSettings
from .task import PlainTask, Task

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
_NAMED = 20
"""Tasks that the shutdown names in its one line."""
NO_SESSIONS = "the runner was made without `sessions`: it has no durable tasks"


class TaskRunner:
    """Runs submitted callables within limits, the most urgent first.

    Use it as an async context manager. Inside, `submit` works from any thread. On exit nothing
    new is accepted but what the running tasks submit; what has not ended after
    `settings.drain_timeout` seconds is cancelled and named in the log.

    A task sees the context variables of its submitter and, below them, those that were set when
    the runner was started. Those of `provided` have its values, whatever the submitter's are.

    Durable tasks need `sessions`, which opens a database session that commits at its end; `tasks`,
    in which they are found by name; and `carrier` for what is to survive of the context. With
    `in_memory`, meant for tests, they run like all others. Raises ValueError when two of `tasks`
    have the same name, and when the settings override one that is not among them.
    """

    runs_here = True
    """Whether tasks run in this process. Where they do not, its snapshot and its observers know
    nothing of their runs."""

    def __init__(
        self,
        settings: TaskSettings,
        observers: Sequence[TaskObserver] = (),
        *,
        tasks: Iterable[Task[..., Any]] = (),
        sessions: Sessions | None = None,
        carrier: Carrier = NOTHING_CARRIED,
        provided: Mapping[ContextVar[Any], Any] = MappingProxyType({}),
        in_memory: bool = False,
    ) -> None:
        self.settings = settings
        self._overrides = settings.overrides
        self._in_memory = in_memory
        self._provided = provided
        self._observers = Observers(observers)
        self._places = Places(settings.queue_size)
        self._threads = Lane(settings.max_threads)
        self._lanes: dict[str, tuple[Lane, ...]] = {}
        self.tasks = tuple(self._overridden(task) for task in tasks)
        """The tasks it was made with, as the settings have them."""
        _check_names(self.tasks)
        settings.check_overrides({task.name for task in self.tasks})
        self._durable: DurableTasks | None = None
        if sessions is not None:
            self._durable = self._make_durable(sessions, self.tasks, carrier)
        self._engine: Engine | None = None
        self._closed: str | None = "has not been started: use `async with runner:`"

    async def __aenter__(self) -> Self:
        """Start: from here on `submit` works. Raises RunnerClosed the second time."""
        if self._engine is not None:
            msg = "a task runner is started once; make a new one"
            raise RunnerClosed(msg)
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._engine = Engine(
            self.settings.max_concurrency,
            self.settings.aging,
            self._places,
            self._observers,
            Background(self, self._provided),
        )
        self._closed = None
        if self._durable is not None:
            self._durable.start(self._engine)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: drain for `settings.drain_timeout` seconds, then cancel what is left."""
        engine = self._started()
        self._closed = "is shutting down"
        if self._durable is not None:
            self._durable.stop_claiming()
        try:
            await self.join(self.settings.drain_timeout)
        except TimeoutError:
            self._closed = "has been closed"
            left = await engine.cancel_all()
            if left:
                names = _names(left)
                logger.warning("%d tasks were cancelled by the shutdown: %s", len(left), names)
        finally:
            self._closed = "has been closed"
            if self._durable is not None:
                await self._durable.stop()
            engine.close()

    @property
    def accepting(self) -> bool:
        """Whether new work is accepted."""
        return self._closed is None

    @overload
    def submit(
        self, func: Callable[..., Any], /, *args: Any, priority: int | None, **kwargs: Any
    ) -> str: ...
    @overload
    def submit(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> str: ...
    def submit(
        self, func: Callable[..., Any], /, *args: Any, priority: Any = None, **kwargs: Any
    ) -> str:
        """Run `func(*args, **kwargs)` when its turn comes; return the task's id.

        Works from any thread and never waits. Raises QueueFull when `settings.queue_size` tasks
        wait, RunnerClosed before the start and after the end, ArgumentError when an argument of
        a decorated task would not survive JSON, and ValueError for a bad priority.
        """
        return self.submit_with(
            NO_OPTIONS if priority is None else Options(priority=priority), func, args, kwargs
        )

    def options(
        self,
        *,
        priority: int | None = None,
        timeout: float | None = None,
        delay: float = 0.0,
        retry: Retry | None = None,
    ) -> "RunnerWithOptions":
        """Set options for one call: `runner.options(delay=60).submit(func, ...)`."""
        options = Options(priority=priority, timeout=timeout, delay=delay, retry=retry)
        return RunnerWithOptions(self, options)

    async def join(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the contract
        """Wait until nothing is queued, delayed or running.

        Raises TimeoutError when that takes longer than `timeout` seconds.
        """
        engine = self._started()
        await asyncio.sleep(0)  # let in what other threads have submitted by now
        async with asyncio.timeout(timeout):
            while not engine.idle.is_set():  # it may be cleared between the event and this task
                await engine.idle.wait()

    def cancel(self, task_id: str) -> bool:
        """Cancel a queued or running task; call it on the event loop.

        Returns False when the task is unknown, has ended, or is a sync function that already
        runs: a thread cannot be stopped.
        """
        return self._started().cancel(task_id)

    async def cancel_durable(self, task_id: str) -> bool:
        """Cancel a durable task, whichever process has it; False if it is unknown or has ended.

        Another process learns of it when it next renews its lease. A sync function that already
        runs goes on to its end, of which nothing is kept.
        """
        if not await self.store.cancel(task_id):
            return False
        self._started().cancel(task_id, Stop.LOST)
        return True

    async def cancel_anywhere(self, task_id: str) -> bool:
        """Cancel a task of either kind; False if it is unknown, has ended, or cannot be stopped."""
        return await self.cancel_durable(task_id) or self.cancel(task_id)

    async def retry_durable(self, task_id: str) -> bool:
        """Let a durable task that ended without success start over; False if it is not one."""
        if self._durable is None or not await self.store.retry(task_id):
            return False
        self._durable.look()
        return True

    async def record(self, task_id: str) -> TaskRecord | None:
        """Return what is kept of a task: here, of a durable one."""
        return await self.store.get(task_id)

    def find(self, task_id: str) -> TaskInfo | None:
        """Return what is known of a task that waits or runs in this process."""
        return self._started().find(task_id)

    def snapshot(self, limit: int | None = None) -> Snapshot:
        """Return what the runner is doing at this moment; call it on the event loop.

        With `limit` it lists no more than so many running and so many queued tasks: a long queue
        takes milliseconds to list and a tenth of that to count.
        """
        return self._started().snapshot(limit)

    @property
    def store(self) -> TaskStore:
        """The table of durable tasks; RuntimeError if the runner has none."""
        if self._durable is None:
            raise RuntimeError(NO_SESSIONS)
        return self._durable.store

    def submit_with(
        self,
        options: Options,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> str:
        """Do the work of all ways to submit."""
        job = self.reserve(func, args, kwargs, options)
        if isinstance(job, DurableJob):
            job.at_commit = True  # its session hands it over
        else:
            self.hand_over(job)
        return job.id

    # `Tasks` builds on these three: a place is reserved in the request and used after it.

    def reserve(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
    ) -> Job:
        """Check a call and take a place for it; raises what `submit` raises.

        The job goes to `hand_over` or to `give_back`, or its place is lost.
        """
        self._check_open()
        task: Task[..., Any] | PlainTask = (
            self._overridden(func) if isinstance(func, Task) else PlainTask(func)
        )
        arguments = task.check_arguments(args, kwargs)
        if task.durable and isinstance(task, Task) and not self._in_memory:
            return self._reserve_durable(task, arguments, options)
        job = Job(task, arguments, options, self._lanes_of(task), self.settings.default_timeout)
        if not self._places.take():
            self._refuse(job)
        return job

    def _make_durable(
        self, sessions: Sessions, tasks: Sequence[Task[..., Any]], carrier: Carrier
    ) -> DurableTasks:
        return DurableTasks(sessions, self.settings, self._places, tasks, self._lanes_of, carrier)

    def _reserve_durable(
        self, task: Task[..., Any], arguments: Arguments, options: Options
    ) -> DurableJob:
        if self._durable is None:
            raise RuntimeError(NO_SESSIONS)
        job = self._durable.prepare(task, arguments, options)
        # What a running task adds was promised before: it is kept even if no place is left.
        if not self._durable.take_place(job) and not runs_inside(self):
            self._refuse(job)
        self._durable.put_in_outbox(job)
        return job

    def _refuse(self, job: Job, error: TaskNotAccepted | None = None) -> NoReturn:
        self._on_loop(self._started().reject, job)
        raise error or QueueFull(job.name, self._places.limit)

    def _check_open(self) -> None:
        if self._closed is not None and (self._engine is None or not self._is_draining()):
            msg = f"the task runner {self._closed}"
            raise RunnerClosed(msg)

    def hand_over(self, job: Job) -> None:
        """Let a job take its turn."""
        if isinstance(job, DurableJob) and self._durable is not None:
            self._durable.hand_over(job)
        else:
            self._on_loop(self._started().enqueue, job)

    def give_back(self, job: Job) -> None:
        """Free the place of a job that is not to run."""
        if isinstance(job, DurableJob) and self._durable is not None:
            # The request failed after its commit: the task was promised then.
            self._durable.hand_over(job)
        else:
            self._places.give_back()

    def _is_draining(self) -> bool:
        return self._closed == "is shutting down" and runs_inside(self)

    def _started(self) -> Engine:
        if self._engine is None:
            msg = f"the task runner {self._closed}"
            raise RunnerClosed(msg)
        return self._engine

    def _on_loop(self, step: Callable[[Job], None], job: Job) -> None:
        if threading.get_ident() == self._loop_thread:
            step(job)
        else:
            self._loop.call_soon_threadsafe(step, job)

    def _lanes_of(self, task: Task[..., Any] | PlainTask) -> tuple[Lane, ...]:
        wide = () if task.is_async else (self._threads,)
        if task.max_concurrency is None and task.rate is None:
            return wide
        lanes = self._lanes.get(task.name)
        if lanes is None:  # several threads may see that
            lanes = (Lane(task.max_concurrency, task.rate), *wide)
            lanes = self._lanes.setdefault(task.name, lanes)
        return lanes

    def _overridden(self, task: Task[P, R]) -> Task[P, R]:
        override = self._overrides.get(task.name)
        return task if override is None else task.overridden(override)


def _check_names(tasks: Sequence[Task[..., Any]]) -> None:
    counts = Counter(task.name for task in tasks)
    doubles = [name for name, count in counts.items() if count > 1]
    if doubles:
        msg = f"more than one task is called {', '.join(doubles)}: give them names, @task(name=...)"
        raise ValueError(msg)


def _names(jobs: Sequence[Job]) -> str:
    named = ", ".join(f"{job.name} ({job.id})" for job in jobs[:_NAMED])
    return named if len(jobs) <= _NAMED else f"{named} and {len(jobs) - _NAMED} more"


class RunnerWithOptions:
    """A runner and the options for one call."""

    def __init__(self, runner: TaskRunner, options: Options) -> None:
        self._runner = runner
        self._options = options

    def submit(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Submit with the options; otherwise as `TaskRunner.submit`."""
        return self._runner.submit_with(self._options, func, args, kwargs)
