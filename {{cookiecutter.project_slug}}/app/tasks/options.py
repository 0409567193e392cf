"""Calls, and the options for one call, which override those of the task's decorator."""

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
    """The keyword arguments of `.options(...)`; `Options` documents them."""

    priority: int | None
    timeout: float | None
    delay: float
    at: datetime | None
    key: str | None
    retry: Retry | None


@dataclass(config=ConfigDict(extra="forbid"), frozen=True, slots=True, kw_only=True)
class Options:
    """Options of one call; None means the task's own value, or else the one in the settings.

    Raises ValueError for an impossible value or an unknown option.
    """

    priority: PriorityNumber | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds for one run; `math.inf` for no limit."""
    delay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds until the task is due."""
    at: AwareDatetime | None = None
    """When the task is due, with a time zone; use it instead of `delay`."""
    key: Annotated[str, Field(min_length=1)] | None = None
    """While a task with this name and key waits or runs, adding it again only returns its id."""
    retry: Retry | None = None
    """`Retry(attempts=1)` turns the task's own retries off."""

    def __post_init__(self) -> None:
        if self.at is not None and self.delay:
            msg = "`at` and `delay` both say when the task is due: give one of them"
            raise ValueError(msg)

    def seconds_until_due(self) -> float:
        """Return the seconds from now until the task is due."""
        if self.at is None:
            return self.delay
        return max((self.at - datetime.now(UTC)).total_seconds(), 0.0)


NO_OPTIONS = Options()


class Call(NamedTuple):
    """What is submitted: a function, its arguments, and the options of this call."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: Options = NO_OPTIONS


class Submission(NamedTuple):
    """An accepted call; its holder calls either `enqueue` or `release`, once."""

    id: str
    enqueue: Callable[[], None]
    """Lets the task start, a durable one after its commit."""
    release: Callable[[], None]
    """Frees the reserved capacity without starting the task; a durable one runs if committed."""


class WithOptions:
    """A submitter together with the options for one call."""

    def __init__(self, submitter: "Submitter", options: Options) -> None:
        self._submitter = submitter
        self._options = options

    def submit(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Submit with these options; otherwise like `Submitter.submit`."""
        return self._submitter.submit_call(Call(func, args, kwargs, self._options))

    add_task = submit


class Submitter(ABC):
    """Accepts calls: the task runner, or the tasks of a request, which run after its response."""

    @overload
    def submit(
        self, func: Callable[..., Any], /, *args: Any, priority: int | None, **kwargs: Any
    ) -> str: ...
    @overload
    def submit(self, func: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> str: ...
    def submit(
        self, func: Callable[..., Any], /, *args: Any, priority: Any = None, **kwargs: Any
    ) -> str:
        """Run `func(*args, **kwargs)` in the background; return the task's id.

        Works from any thread and never waits. A durable task runs after the session around the
        call has committed. Raises QueueFull when `settings.queue_size` tasks wait, which answers a
        request with 503; RunnerClosed before the runner has started and, except in a running task,
        after it begins to shut down; ArgumentError when an argument of a decorated task would not
        survive JSON; and ValueError for a bad priority.
        """
        options = NO_OPTIONS if priority is None else Options(priority=priority)
        return self.submit_call(Call(func, args, kwargs, options))

    add_task = submit

    def options(self, **values: Unpack[OptionValues]) -> WithOptions:
        """Set options for one call: `tasks.options(delay=60).add_task(func, ...)`."""
        return WithOptions(self, Options(**values))

    @abstractmethod
    def submit_call(self, call: Call) -> str:
        """Submit a call and return the task's id; every other way to submit ends here."""
