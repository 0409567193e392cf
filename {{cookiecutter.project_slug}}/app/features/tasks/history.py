"""Remembers how the latest tasks ended: those in memory leave no other trace."""

from collections import OrderedDict
from time import monotonic, time

from app.tasks import TaskInfo, TaskObserver, TaskState

from .schemas import TaskView

_FAILURES = frozenset({TaskState.FAILED, TaskState.TIMED_OUT})


class History(TaskObserver):
    """The tasks that ended last in this process, by id."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._ended: OrderedDict[str, TaskView] = OrderedDict()

    def get(self, task_id: str) -> TaskView | None:
        """Return a task that ended not too long ago."""
        return self._ended.get(task_id)

    def failures(self, limit: int) -> list[TaskView]:
        """Return the latest failures, the newest first."""
        failures = (view for view in reversed(self._ended.values()) if view.state in _FAILURES)
        return [view for view, _ in zip(failures, range(limit), strict=False)]

    def succeeded(self, info: TaskInfo) -> None:
        """Remember the end of a task."""
        self._ended[info.id] = view_of(info, finished=True)
        self._ended.move_to_end(info.id)
        if len(self._ended) > self._limit:
            self._ended.popitem(last=False)

    failed = succeeded
    timed_out = succeeded
    cancelled = succeeded


def view_of(info: TaskInfo, *, finished: bool = False) -> TaskView:
    """Show a task of this process."""
    now = time()
    started = None if info.started_at is None else now - (monotonic() - info.started_at)
    return TaskView.of_info(info, started, now if finished else None)
