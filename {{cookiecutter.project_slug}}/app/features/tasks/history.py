"""Remembers how the latest tasks ended: those in memory leave no other trace."""

from collections import OrderedDict
from time import monotonic, time

from app.tasks import TaskInfo, TaskObserver, TaskState

from .schemas import TaskView

_FAILURES = frozenset({TaskState.FAILED, TaskState.TIMED_OUT, TaskState.DEAD})


class History(TaskObserver):
    """The tasks that ended last in this process, by id."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._ended: OrderedDict[str, TaskView | tuple[TaskInfo, float]] = OrderedDict()
        """What is shown, or of what and when it ended, in seconds since the epoch."""

    def get(self, task_id: str) -> TaskView | None:
        """Return a task that ended not too long ago."""
        ended = self._ended.get(task_id)
        return _view_of_success(*ended) if isinstance(ended, tuple) else ended

    def failures(self, limit: int) -> list[TaskView]:
        """Return the latest failures, the newest first."""
        views = (view for view in reversed(self._ended.values()) if isinstance(view, TaskView))
        failures = (view for view in views if view.state in _FAILURES)
        return [view for view, _ in zip(failures, range(limit), strict=False)]

    def succeeded(self, info: TaskInfo) -> None:
        """Remember a task: hardly any is ever asked for, and a view costs as much as a task."""
        self._remember(info.id, (info, time()))

    def failed(self, info: TaskInfo) -> None:
        """Remember a task as it is shown: its exception would keep the memory of its frames."""
        self._remember(info.id, view_of(info, finished=True))

    timed_out = failed
    cancelled = failed

    def _remember(self, task_id: str, ended: TaskView | tuple[TaskInfo, float]) -> None:
        self._ended[task_id] = ended
        self._ended.move_to_end(task_id)
        if len(self._ended) > self._limit:
            self._ended.popitem(last=False)


def view_of(info: TaskInfo, *, finished: bool = False) -> TaskView:
    """Show a task of this process."""
    now = time()
    started = None if info.started_at is None else now - (monotonic() - info.started_at)
    return TaskView.of_info(info, started, now if finished else None)


def _view_of_success(info: TaskInfo, finished: float) -> TaskView:
    return TaskView.of_info(info, finished - (info.duration or 0.0), finished)
