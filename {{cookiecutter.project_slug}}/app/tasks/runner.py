"""The in-process engine's front: accepts tasks from anywhere, starts and stops."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, Self, overload

from .context import Background, runs_inside
from .engine import Engine
from .errors import QueueFull, RunnerClosed
from .info import Snapshot
from .job import Job
from .lane import Lane
from .observer import Observers, TaskObserver
from .options import NO_OPTIONS, Options
from .places import Places
from .retry import Retry
from .settings import TaskSettings
from .task import PlainTask, Task

logger = logging.getLogger(__name__)

P = ParamSpec("P")


class TaskRunner:
    """Runs submitted callables within limits, the most urgent first.

    Use it as an async context manager. Inside, `submit` works from any thread. On exit nothing
    new is accepted but what the running tasks submit; what has not ended after
    `settings.drain_timeout` seconds is cancelled and named in the log.

    A task sees the context variables of its submitter and, below them, those that were set when
    the runner was started.
    """

    def __init__(self, settings: TaskSettings, observers: Sequence[TaskObserver] = ()) -> None:
        self.settings = settings
        self._observers = Observers(observers)
        self._places = Places(settings.queue_size)
        self._threads = Lane(settings.max_threads)
        self._lanes: dict[Task[..., Any], tuple[Lane, ...]] = {}
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
            Background(self),
        )
        self._closed = None
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: drain for `settings.drain_timeout` seconds, then cancel what is left."""
        engine = self._started()
        self._closed = "is shutting down"
        try:
            await self.join(self.settings.drain_timeout)
        except TimeoutError:
            left = await engine.cancel_all()
            names = ", ".join(f"{job.name} ({job.id})" for job in left)
            logger.warning("%d tasks were cancelled by the shutdown: %s", len(left), names)
        finally:
            self._closed = "has been closed"
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
        options = NO_OPTIONS if priority is None else Options(priority=priority)
        return self.hand_over(self.reserve(func, args, kwargs, options))

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
        async with asyncio.timeout(timeout):
            await self._started().idle.wait()

    def cancel(self, task_id: str) -> bool:
        """Cancel a queued or running task; call it on the event loop.

        Returns False when the task is unknown, has ended, or is a sync function that already
        runs: a thread cannot be stopped.
        """
        return self._started().cancel(task_id)

    def snapshot(self) -> Snapshot:
        """Return what the runner is doing at this moment; call it on the event loop."""
        return self._started().snapshot()

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
        if self._closed is not None and (self._engine is None or not self._is_draining()):
            msg = f"the task runner {self._closed}"
            raise RunnerClosed(msg)
        job = self._make_job(func, args, kwargs, options)
        if not self._places.take():
            self._on_loop(self._started().reject, job)
            raise QueueFull(job.name, self._places.limit)
        return job

    def hand_over(self, job: Job) -> str:
        """Let a job take its turn; return its id."""
        self._on_loop(self._started().enqueue, job)
        return job.id

    def give_back(self, job: Job) -> None:  # noqa: ARG002 - every place is like the other
        """Free the place of a job that is not to run."""
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

    def _make_job(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
    ) -> Job:
        task = func if isinstance(func, Task) else PlainTask(func)
        arguments = task.check_arguments(args, kwargs)
        return Job(task, arguments, options, self._lanes_of(task), self.settings.default_timeout)

    def _lanes_of(self, task: Task[..., Any] | PlainTask) -> tuple[Lane, ...]:
        wide = () if task.is_async else (self._threads,)
        if isinstance(task, PlainTask) or (task.max_concurrency is None and task.rate is None):
            return wide
        if task not in self._lanes:
            own = Lane(task.max_concurrency, task.rate)
            return self._lanes.setdefault(task, (own, *wide))
        return self._lanes[task]


class RunnerWithOptions:
    """A runner and the options for one call."""

    def __init__(self, runner: TaskRunner, options: Options) -> None:
        self._runner = runner
        self._options = options

    def submit(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Submit with the options; otherwise as `TaskRunner.submit`."""
        return self._runner.hand_over(self._runner.reserve(func, args, kwargs, self._options))
