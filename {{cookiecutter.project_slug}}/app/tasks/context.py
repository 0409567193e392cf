"""What a running task can ask and say about itself, and the context variables it sees."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any

from .errors import RunnerClosed
from .info import Progress, TaskInfo
from .redaction import storable

_NOTE_LENGTH = 200

_UNSET = object()

_current_runner: ContextVar[object] = ContextVar("current_runner", default=None)
_current_task: ContextVar[TaskInfo | None] = ContextVar("current_task", default=None)


def current_task() -> TaskInfo | None:
    """Return what is known of the running task; None outside a task."""
    return _current_task.get()


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
    info.progress = Progress(done, total, storable(note[:_NOTE_LENGTH]))


def runner_of_task() -> object:
    """Return the engine whose task is the calling code; None outside a task."""
    return _current_runner.get()


class RunContext:
    """The context variables of every run, beside those of its submitter.

    Below the submitter's are those that were set when the runner was started, and above them is
    what the runner provides: its own database and mail sender, whatever other applications there
    are in the process.
    """

    def __init__(self, runner: object, provided: Mapping[ContextVar[Any], Any]) -> None:
        self._above = ((_current_runner, runner), *provided.items())
        self._below = tuple(copy_context().items())

    def enter(self, info: TaskInfo) -> None:
        """Complete the current context for the run of a task."""
        for variable, value in self._below:
            if variable.get(_UNSET) is _UNSET:
                variable.set(value)
        for variable, value in self._above:
            variable.set(value)
        _current_task.set(info)


@dataclass(frozen=True, slots=True)
class Propagator:
    """Takes context to another process or beyond a restart, such as the id of a request.

    Context variables cannot be stored; this says which of them matter, and as what text.
    """

    inject: Callable[[], dict[str, str]] = dict
    """Returns what is to travel; called where a task is submitted."""
    extract: Callable[[Mapping[str, str]], None] = lambda _: None
    """Sets context variables from what `inject` returned; called in the context of the task."""


NO_PROPAGATION = Propagator()


def propagate_all(*propagators: Propagator) -> Propagator:
    """Make one propagator of several; each has to pass over what the others have injected."""

    def inject() -> dict[str, str]:
        return {name: text for one in propagators for name, text in one.inject().items()}

    def extract(injected: Mapping[str, str]) -> None:
        for one in propagators:
            one.extract(injected)

    return Propagator(inject, extract)
