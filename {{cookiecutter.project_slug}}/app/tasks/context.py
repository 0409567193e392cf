"""What a running task can ask about itself, and the context variables it sees."""

from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from typing import Any

from .engine import TaskEngine
from .errors import RunnerClosed
from .info import TaskInfo

_current_runner: ContextVar[TaskEngine] = ContextVar("current_runner")
_current_task: ContextVar[TaskInfo] = ContextVar("current_task")


def current_runner() -> TaskEngine:
    """Return the runner of the running task, so that it can submit others.

    Raises RunnerClosed outside a task.
    """
    try:
        return _current_runner.get()
    except LookupError:
        msg = "there is no current runner: this code does not run in a task"
        raise RunnerClosed(msg) from None


def current_task() -> TaskInfo | None:
    """Return what is known of the running task; None outside a task."""
    return _current_task.get(None)


def runs_inside(runner: TaskEngine) -> bool:
    """Say whether the calling code is a task of `runner`."""
    return _current_runner.get(None) is runner


class RunContext:
    """The context variables of every run, beside those of its submitter.

    Below the submitter's are those that were set when the runner was started, and above them is
    what the runner provides: its own database and mail sender, whatever other applications there
    are in the process.
    """

    def __init__(self, runner: TaskEngine, provided: Mapping[ContextVar[Any], Any]) -> None:
        self.runner = runner
        self._provided = tuple(provided.items())
        self._variables: list[tuple[ContextVar[Any], Any]] = list(copy_context().items())

    def enter(self, info: TaskInfo, context: Context) -> None:
        """Complete `context`, which must be the current one, for the run of a task."""
        for variable, value in self._variables:
            if variable not in context:
                variable.set(value)
        for variable, value in self._provided:
            variable.set(value)
        _current_runner.set(self.runner)
        _current_task.set(info)
