"""What every task engine offers, whether tasks run in this process or on workers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ParamSpec, Protocol, Unpack, overload

from .info import Snapshot, TaskInfo, TaskRecord, TaskState, TaskType, record_of
from .options import NO_OPTIONS, Options, OptionValues
from .rate import Rate
from .settings import TaskLimits, TaskSettings
from .task import Task

P = ParamSpec("P")


class Submission(Protocol):
    """A call that was accepted: it goes to `enqueue` or to `release`, and to one of them only."""

    @property
    def id(self) -> str:
        """The id of the task."""
        ...

    def enqueue(self) -> None:
        """Let the task take its turn."""
        ...

    def release(self) -> None:
        """Free the capacity that was reserved: the task is not to run."""
        ...


class TypeChanges(Protocol):
    """What was changed of tasks at run time."""

    def list(self) -> list[TaskType]:
        """See `TaskEngine.types`."""
        ...

    async def pause(self, name: str, *, paused: bool) -> None:
        """See `TaskEngine.pause` and `TaskEngine.resume`."""
        ...

    async def limit(self, name: str, max_concurrency: int | None, rate: Rate | None) -> None:
        """See `TaskEngine.limit`."""
        ...


class TaskEngine(ABC):
    """Runs submitted callables within limits, the most urgent first."""

    settings: TaskSettings
    tasks: tuple[Task[..., Any], ...]
    """The tasks it was made with, as the settings have them and with the limits in force."""
    _types: TypeChanges

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

        Works from any thread and never waits. A durable task runs when the transaction of the
        session around the call commits. Raises QueueFull when `settings.queue_size` tasks wait,
        RunnerClosed before the start and after the end, ArgumentError when an argument of a
        decorated task would not survive JSON, and ValueError for a bad priority.
        """
        options = NO_OPTIONS if priority is None else Options(priority=priority)
        return self.submit_with(options, func, args, kwargs)

    def options(self, **values: Unpack[OptionValues]) -> "EngineWithOptions":
        """Set options for one call: `runner.options(delay=60).submit(func, ...)`."""
        return EngineWithOptions(self, Options(**values))

    def submit_with(
        self,
        options: Options,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> str:
        """Do the work of all ways to submit."""
        submission = self.reserve(func, args, kwargs, options)
        submission.enqueue()
        return submission.id

    @abstractmethod
    def reserve(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
    ) -> Submission:
        """Check a call and reserve capacity for it; raises what `submit` raises."""

    @abstractmethod
    async def join(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the contract
        """Wait until nothing is left to do; raise TimeoutError after `timeout` seconds."""

    @abstractmethod
    def cancel(self, task_id: str) -> bool:
        """Cancel a task that waits or runs in this process; False if it cannot be stopped."""

    @abstractmethod
    async def cancel_anywhere(self, task_id: str) -> bool:
        """Cancel a task, wherever it is; False if it has ended or cannot be stopped."""

    @abstractmethod
    async def retry_durable(self, task_id: str) -> bool:
        """Let a durable task that ended without success start over; False if it is not one."""

    @abstractmethod
    async def retry_all(self, state: TaskState, name: str | None = None) -> int:
        """Let all durable tasks in a state, perhaps of one name, start over; return how many.

        The state is one of those without success, or nothing happens.
        """

    async def describe(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task that is kept outside this process, or waits or runs here.

        The progress is that of now if it runs here.
        """
        record, info = await self.record(task_id), self.find(task_id)
        if info is None:
            return record
        return record_of(info) if record is None else replace(record, progress=info.progress)

    @abstractmethod
    def find(self, task_id: str) -> TaskInfo | None:
        """Return what is known of a task that waits or runs in this process."""

    @abstractmethod
    async def record(self, task_id: str) -> TaskRecord | None:
        """Return what is kept of a task outside this process."""

    @abstractmethod
    def snapshot(self, limit: int | None = None) -> Snapshot:
        """Return what this process is doing, with up to `limit` tasks of each state."""

    def types(self) -> list[TaskType]:
        """Return what is known of each of its tasks."""
        return self._types.list()

    async def pause(self, name: str) -> None:
        """Start nothing more of a task, in any process; what runs goes on.

        It lasts until `resume`, also over a restart. Other processes follow within a second.
        Raises UnknownTaskError if no task has this name.
        """
        await self._types.pause(name, paused=True)

    async def resume(self, name: str) -> None:
        """Let a paused task start again; raises UnknownTaskError."""
        await self._types.pause(name, paused=False)

    async def limit(
        self, name: str, *, max_concurrency: int | None = None, rate_limit: str | None = None
    ) -> None:
        """Change both limits of a task, in all processes; None is what the settings say.

        It lasts until it is changed again, also over a restart if the runner has a table. Raises
        UnknownTaskError, and ValueError for a bad limit.
        """
        limits = TaskLimits(max_concurrency=max_concurrency, rate_limit=rate_limit)
        rate = None if rate_limit is None else Rate.parse(rate_limit)
        await self._types.limit(name, limits.max_concurrency, rate)

    @property
    @abstractmethod
    def accepting(self) -> bool:
        """Whether new work is accepted."""


class EngineWithOptions:
    """An engine and the options for one call."""

    def __init__(self, engine: TaskEngine, options: Options) -> None:
        self._engine = engine
        self._options = options

    def submit(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Submit with the options; otherwise as `TaskEngine.submit`."""
        return self._engine.submit_with(self._options, func, args, kwargs)
