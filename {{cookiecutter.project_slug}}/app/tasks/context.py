"""What a running task can ask and report, and the context that it takes to other processes."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from .errors import RunnerClosed
from .info import Progress, TaskInfo
from .redaction import storable

_NOTE_LENGTH = 200

running_task: ContextVar[TaskInfo | None] = ContextVar("running_task", default=None)
"""The task that this code runs in; the executor sets it."""


def current_task() -> TaskInfo | None:
    """Return the task that this code runs in; None outside a task."""
    return running_task.get()


def report_progress(done: float, total: float | None = None, note: str = "") -> None:
    """Report how far the running task has come; it is cheap, and may be called often.

    This process shows it at once; for a durable task it is stored when the lease is renewed. `note`
    is cut after 200 characters. Raises RunnerClosed outside a task, and ValueError for a number
    that is not finite.
    """
    info = current_task()
    if info is None:
        msg = "there is no progress to report: this code does not run in a task"
        raise RunnerClosed(msg)
    info.progress = Progress(done, total, storable(note[:_NOTE_LENGTH]))


@dataclass(frozen=True, slots=True)
class Propagator:
    """Takes context, such as a request id, to another process or across a restart.

    Context variables cannot be stored; `inject` returns, as text, those that matter.
    """

    inject: Callable[[], dict[str, str]] = dict
    """Returns the context to take along; called in the context that submits a task."""
    extract: Callable[[Mapping[str, str]], None] = lambda _: None
    """Sets context variables from what `inject` returned; called in the context of the task."""


NO_PROPAGATION = Propagator()


def propagate_all(*propagators: Propagator) -> Propagator:
    """Combine propagators; each of them must ignore the keys that the others inject."""

    def inject() -> dict[str, str]:
        return {key: text for each in propagators for key, text in each.inject().items()}

    def extract(injected: Mapping[str, str]) -> None:
        for propagator in propagators:
            propagator.extract(injected)

    return Propagator(inject, extract)
