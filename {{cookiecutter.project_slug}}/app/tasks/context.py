"""What a running task can ask and say about itself, and the context variables it sees."""

import math
from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from typing import Any

from .engine import TaskEngine
from .errors import RunnerClosed
from .info import Progress, TaskInfo
from .redaction import storable

_NOTE_LENGTH = 200

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


def report_progress(done: float, total: float | None = None, note: str = "") -> None:
    """Say how far the running task has come; it costs nothing, however often.

    This process shows it at once; that of a durable task is stored when its lease is renewed. The
    note is cut after 200 characters. Raises RunnerClosed outside a task, and ValueError for what is
    no finite number.
    """
    info = current_task()
    if info is None:
        msg = "there is no progress to report: this code does not run in a task"
        raise RunnerClosed(msg)
    whole = None if total is None else _finite(total)
    info.progress = Progress(_finite(done), whole, storable(note[:_NOTE_LENGTH]))


def _finite(number: float) -> float:
    # It may be a Decimal, or of NumPy, which JSON does not know.
    value = number if type(number) is int else float(number)
    if not math.isfinite(value):
        msg = f"progress is told in finite numbers, not {number}"
        raise ValueError(msg)
    return value


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
