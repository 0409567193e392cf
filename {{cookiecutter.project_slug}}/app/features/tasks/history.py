"""Remembers how the latest tasks ended: those in memory leave no other trace."""

from collections import OrderedDict
from time import monotonic, time
from typing import Any

from app.tasks import TaskInfo, TaskObserver, TaskState, describe_error

from .schemas import TaskView

FAILURES = (TaskState.FAILED, TaskState.TIMED_OUT, TaskState.DEAD)


class History(TaskObserver):
    """The tasks that ended last in this process, by id."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._ended: OrderedDict[str, dict[str, Any]] = OrderedDict()
        """The fields of each view: to make one costs as much as a task, and few are asked for."""

    def get(self, task_id: str) -> TaskView | None:
        """Return a task that ended not too long ago."""
        ended = self._ended.get(task_id)
        return None if ended is None else TaskView(**ended)

    def failures(self, limit: int) -> list[TaskView]:
        """Return the latest failures, the newest first."""
        failures = [ended for ended in self._ended.values() if ended["state"] in FAILURES]
        return [TaskView(**failure) for failure in failures[::-1][:limit]]

    def succeeded(self, info: TaskInfo) -> None:
        """Remember how a task ended."""
        self._ended[info.id] = fields_of(info) | {"finished_at": time()}
        self._ended.move_to_end(info.id)
        if len(self._ended) > self._limit:
            self._ended.popitem(last=False)

    failed = succeeded
    timed_out = succeeded
    cancelled = succeeded


def fields_of(info: TaskInfo) -> dict[str, Any]:
    """Return what a view shows of a task in this process, without keeping its exception."""
    started = None if info.started_at is None else time() - (monotonic() - info.started_at)
    return {
        "id": info.id,
        "name": info.name,
        "state": info.state,
        "priority": info.priority,
        "attempts": info.attempt,
        "created_at": info.created_at,
        "started_at": started,
        "finished_at": None,
        "error": None if info.error is None else describe_error(info.error),
        "progress": info.progress,
    }
