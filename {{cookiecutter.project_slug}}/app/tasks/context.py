"""What a running task can ask about itself, and the context variables it sees."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

from .errors import RunnerClosed
from .info import TaskInfo

if TYPE_CHECKING:
    from .durable.outbox import Outbox
    from .runner import TaskRunner

_current_runner: ContextVar[TaskRunner] = ContextVar("current_runner")
_current_task: ContextVar[TaskInfo] = ContextVar("current_task")
current_outbox: ContextVar[Outbox | None] = ContextVar("current_outbox", default=None)
"""The outbox of the session in whose block the code runs."""


def current_runner() -> TaskRunner:
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


def runs_inside(runner: TaskRunner) -> bool:
    """Say whether the calling code is a task of `runner`."""
    return _current_runner.get(None) is runner


class Background:
    """The context variables that were set when the runner was started.

    Every task sees them below those of its submitter, and above these what the runner provides:
    its own database and mail sender, whatever other applications there are in the process.
    """

    def __init__(self, runner: TaskRunner, provided: Mapping[ContextVar[Any], Any]) -> None:
        self._runner = runner
        self._provided = tuple(provided.items())
        self._variables: list[tuple[ContextVar[Any], Any]] = list(copy_context().items())

    def enter(self, info: TaskInfo, context: Context) -> None:
        """Complete `context`, which must be the current one, for the run of a task."""
        for variable, value in self._variables:
            if variable not in context:
                variable.set(value)
        for variable, value in self._provided:
            variable.set(value)
        _current_runner.set(self._runner)
        _current_task.set(info)
        if current_outbox.get() is not None:  # the submitter's session is not the task's
            current_outbox.set(None)
