"""The `task` decorator, which makes a function a task with options."""

import inspect
import json
from collections.abc import Callable
from copy import copy
from datetime import timedelta
from functools import partial, update_wrapper
from hashlib import sha256
from secrets import token_hex
from typing import Annotated, Any, Generic, ParamSpec, TypeVar, overload

from pydantic import ConfigDict, Field, InstanceOf

from .arguments import ArgumentCheck, Arguments
from .info import FailedTask, TaskState
from .limits import Rate
from .priority import Priority
from .retry import Retry
from .schedule import Schedule
from .settings import TaskOverride, TaskSettings

P = ParamSpec("P")
R = TypeVar("R")
_SAMPLE_FAILURE = FailedTask(id="", name="", arguments={}, state=TaskState.FAILED, error="")


class _CheckedOptions(TaskOverride):
    """The decorator's options, checked: otherwise a wrong type would only fail in a run."""

    model_config = ConfigDict(strict=True, title="@task")  # the title begins each message

    name: Annotated[str, Field(max_length=200)] | None = None  # the width of its column
    per: str | None = None
    retry: InstanceOf[Retry] | None = None
    durable: bool = False
    schedule: str | timedelta | None = None
    timezone: str | None = None
    on_failure: Any = None


class Task(Generic[P, R]):
    """A function to run in the background; calling the task calls the function directly."""

    def __init__(self, func: Callable[P, R], **options: Any) -> None:
        update_wrapper(self, func)  # first, so that the function's attributes do not replace ours
        given = _CheckedOptions(**options)
        self.func = func
        self.name = given.name or callable_name(func)
        self.priority = Priority.NORMAL if given.priority is None else given.priority
        self.timeout = given.timeout
        self.max_concurrency = given.max_concurrency
        self.rate = None if given.rate_limit is None else Rate.parse(given.rate_limit)
        self.per = _check_per(given, func)
        self.retry = given.retry
        self.durable = given.durable
        self.schedule = _check_schedule(given, func)
        self.on_failure = _check_on_failure(given)
        self.is_async = is_async(func)
        self.check_arguments = ArgumentCheck(func, self.name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, here and now."""
        return self.func(*args, **kwargs)

    def limit_group(self, arguments: Arguments) -> str:
        """Return the key by which limits are counted: the name, or a hash of the value of `per`."""
        if self.per is None:
            return self.name
        return self.id_of(self.check_arguments.value_as_json(self.per, arguments))

    def id_of(self, key: str | None) -> str:
        """Return 32 hex digits: random, or derived from name and key, the same in every process."""
        if key is None:
            return token_hex(16)  # the system's randomness differs in forks and cloned machines
        return sha256(json.dumps([self.name, key]).encode()).hexdigest()[:32]

    def overridden(self, settings: TaskSettings) -> "Task[P, R]":
        """Return a copy whose options are replaced by the overrides in the settings."""
        override, changed = settings.overrides.get(self.name, TaskOverride()), copy(self)
        changed.priority = self.priority if override.priority is None else override.priority
        changed.timeout = override.timeout or self.timeout
        changed.max_concurrency = override.max_concurrency or self.max_concurrency
        if override.rate_limit is not None:
            changed.rate = Rate.parse(override.rate_limit)
        return changed

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class PlainTask(Task[..., Any]):
    """An undecorated callable, without options of its own.

    It never leaves the process, so it may have any arguments.
    """

    priority = Priority.NORMAL
    timeout: None = None
    max_concurrency: None = None
    rate: None = None
    per: None = None
    retry: None = None
    durable = False
    on_failure: None = None

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func  # do little here: every call makes a PlainTask
        self.name = callable_name(func)
        self.is_async = is_async(func)

    # Stands in for an ArgumentCheck, of which only the call is used: nothing here becomes JSON.
    def check_arguments(  # type: ignore[override]
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments:
        """Return any arguments unchanged."""
        return args, kwargs


@overload
def task(func: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    priority: int | None = None,
    timeout: float | None = None,
    max_concurrency: int | None = None,
    rate_limit: str | None = None,
    per: str | None = None,
    retry: Retry | None = None,
    durable: bool = False,
    schedule: str | timedelta | None = None,
    timezone: str | None = None,
    on_failure: Task[[FailedTask], Any] | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(func: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function, static method or async function a task.

    Options, some of which `.options(...)` and `priority=` override for one call:

    - `name`: unique in the application; the function's qualified name by default
    - `priority`: `Priority.NORMAL` by default
    - `timeout`: seconds per run, `math.inf` for no limit; `TASKS_DEFAULT_TIMEOUT` by default
    - `max_concurrency`: runs of this task at the same time; by default only the runner's limit
    - `rate_limit`: such as "10/minute": how many runs may start in any window of that length
    - `per`: the name of a parameter: both limits then hold for each of its values separately
    - `retry`: a `Retry`; by default a failed task is not run again
    - `durable`: stored in the caller's transaction, and run at least once even if a process dies
    - `schedule`: makes the task periodic: a cron expression of five fields such as "0 9 * * 1-5",
      or a `timedelta`. It is called without arguments. At each tick a durable task runs once over
      all processes on the database, an in-memory task once in each process
    - `timezone`: time zone of the cron expression, such as "Europe/Berlin"; UTC by default
    - `on_failure`: a task that takes a `FailedTask`, submitted once when this one has ended without
      success for good. Both are durable or neither is; a durable one is added in the transaction
      that records the end

    Raises TypeError for a method, which would get no `self`, and ValueError for a bad option.
    """
    if func is None:
        return partial(_make, options)
    return _make(options, func)


def _make(options: dict[str, Any], func: Any) -> Task[..., Any]:
    if isinstance(func, staticmethod):
        func = func.__func__
    if isinstance(func, classmethod) or _takes_self(func):
        msg = f"{callable_name(func)} is a method; make it a static method to use it as a task"
        raise TypeError(msg)
    return Task(func, **options)


def _takes_self(func: Callable[..., Any]) -> bool:
    parameters = inspect.signature(func).parameters
    return next(iter(parameters), "") in {"self", "cls"} and not inspect.ismethod(func)


def callable_name(func: Any) -> str:
    """Return a name for any callable, the same each time the same code creates it."""
    while isinstance(func, partial):
        func = func.func
    return getattr(func, "__qualname__", None) or type(func).__qualname__


def is_async(func: Any) -> bool:
    """Return whether calling `func`, which may be a partial or an object, gives a coroutine."""
    while isinstance(func, partial):
        func = func.func
    if isinstance(func, Task):
        return func.is_async
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)


def _check_schedule(given: _CheckedOptions, func: Callable[..., Any]) -> Schedule | None:
    if given.schedule is None:
        if given.timezone is not None:
            msg = f"timezone={given.timezone!r} needs a schedule"
            raise ValueError(msg)
        return None
    try:
        inspect.signature(func).bind()
    except TypeError as error:
        msg = f"{callable_name(func)} has a schedule, so it is called without arguments: {error}"
        raise ValueError(msg) from None
    return Schedule(given.schedule, given.timezone)


def _check_on_failure(given: _CheckedOptions) -> Task[[FailedTask], Any] | None:
    handler: Task[[FailedTask], Any] | None = given.on_failure
    if handler is None:
        return None
    try:  # check it now: when a task has failed, a wrong handler could only be logged
        handler.check_arguments((_SAMPLE_FAILURE,), {})
    except (AttributeError, TypeError) as error:
        msg = f"on_failure must be a task that takes one FailedTask: {error}"
        raise ValueError(msg) from error
    if handler.durable is not given.durable:
        msg = f"on_failure: {handler.name} and its task must both be durable, or neither"
        raise ValueError(msg)
    return handler


def _check_per(given: _CheckedOptions, func: Callable[..., Any]) -> str | None:
    has_limit = given.max_concurrency or given.rate_limit
    if given.per is None or (given.per in inspect.signature(func).parameters and has_limit):
        return given.per
    msg = f"per={given.per!r} must name a parameter, and needs a max_concurrency or a rate_limit"
    raise ValueError(msg)
