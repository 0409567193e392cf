"""Options for one call, over those of the task's decorator."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, ParamSpec, TypedDict, Unpack, overload

from pydantic import AwareDatetime, ConfigDict, Field
from pydantic.dataclasses import dataclass

from .priority import PriorityNumber
from .retry import Retry

P = ParamSpec("P")


class OptionValues(TypedDict, total=False):
    """The arguments of `.options(...)`; `Options` says what they mean."""

    priority: int | None
    timeout: float | None
    delay: float
    at: datetime | None
    key: str | None
    retry: Retry | None


@dataclass(config=ConfigDict(extra="forbid"), frozen=True, slots=True, kw_only=True)
class Options:
    """What one call asks for; None leaves it to the task, then to the settings.

    Raises ValueError for a value no task can have, and for an option that there is not.
    """

    priority: PriorityNumber | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds for one run; `math.inf` for no limit."""
    delay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds before the task may start."""
    at: AwareDatetime | None = None
    """Time before which the task may not start, with its time zone; instead of `delay`."""
    key: Annotated[str, Field(min_length=1)] | None = None
    """While a task of this name with this key waits or runs, another one is the same one."""
    retry: Retry | None = None
    """`Retry(attempts=1)` turns the task's own retries off."""

    def __post_init__(self) -> None:
        if self.at is not None and self.delay:
            msg = "at says when to start, and leaves nothing to delay"
            raise ValueError(msg)

    def seconds_until_due(self) -> float:
        """Return the seconds before the task may start, counted from now."""
        if self.at is None:
            return self.delay
        return max((self.at - datetime.now(UTC)).total_seconds(), 0.0)


NO_OPTIONS = Options()


class Call(NamedTuple):
    """What is submitted: a function with its arguments, and the options of this one call."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: Options = NO_OPTIONS


class Submission(NamedTuple):
    """A call that was accepted: `enqueue` or `release` is called, and one of them only."""

    id: str
    enqueue: Callable[[], None]
    """Lets the task take its turn."""
    release: Callable[[], None]
    """Frees the capacity that was reserved: the task is not to run."""


class WithOptions:
    """An engine, or the tasks of a request, with the options for one call."""

    def __init__(self, submitter: "Submitter", options: Options) -> None:
        self._submitter = submitter
        self._options = options

    def submit(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Submit with the options; otherwise as `Submitter.submit`."""
        return self._submitter.submit_call(Call(func, args, kwargs, self._options))

    add_task = submit


class Submitter(ABC):
    """What takes calls: an engine, or the tasks of a request, which run after its response."""

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
        which answers a request with 503, RunnerClosed before the start and after the end of the
        engine, ArgumentError when an argument of a decorated task would not survive JSON, and
        ValueError for a bad priority.
        """
        options = NO_OPTIONS if priority is None else Options(priority=priority)
        return self.submit_call(Call(func, args, kwargs, options))

    add_task = submit

    def options(self, **values: Unpack[OptionValues]) -> WithOptions:
        """Set options for one call: `tasks.options(delay=60).add_task(func, ...)`."""
        return WithOptions(self, Options(**values))

    @abstractmethod
    def submit_call(self, call: Call) -> str:
        """Do the work of all ways to submit."""
