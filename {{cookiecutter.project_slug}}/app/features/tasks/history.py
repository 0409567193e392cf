"""Remembers how the latest tasks ended: those in memory leave no other trace."""

import json
from collections import OrderedDict

from app.logs import LOG_CONTEXT
from app.tasks import TaskInfo, TaskObserver, TaskRecord, record_of
from app.tasks.info import FAILURES


class History(TaskObserver):
    """The tasks that ended last in this process, by id."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._ended: OrderedDict[str, TaskRecord] = OrderedDict()

    def get(self, task_id: str) -> TaskRecord | None:
        """Return a task that ended not too long ago."""
        return self._ended.get(task_id)

    def failures(self, limit: int) -> list[TaskRecord]:
        """Return the latest failures, the newest first."""
        failures = [ended for ended in self._ended.values() if ended.state in FAILURES]
        return failures[::-1][:limit]

    def succeeded(self, info: TaskInfo) -> None:
        """Remember how a task ended, and which request it came from."""
        context = json.dumps(LOG_CONTEXT.inject())  # which is that of the task
        self._ended[info.id] = record_of(info, context)
        self._ended.move_to_end(info.id)
        if len(self._ended) > self._limit:
            self._ended.popitem(last=False)

    failed = timed_out = cancelled = succeeded
