"""What a running task can ask and say about itself, and what of its context travels."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from .errors import RunnerClosed
from .info import Progress, TaskInfo
from .redaction import storable

_NOTE_LENGTH = 200

running_task: ContextVar[TaskInfo | None] = ContextVar("running_task", default=None)
"""That to which the code belongs; the executor sets it."""


def current_task() -> TaskInfo | None:
    """Return what is known of the running task; None outside a task."""
    return running_task.get()


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
