"""Remembers how the latest tasks ended: those in memory leave no other trace."""

import json
from collections import OrderedDict
from dataclasses import replace
from time import time

from app.logs import LOG_CONTEXT
from app.tasks import TaskInfo, TaskObserver, TaskRecord, TaskState, record_of


class History(TaskObserver):
    """The latest run of each task in this process, for the `limit` that ended last.

    Failures are kept apart, so that no number of successes hides them.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._others: OrderedDict[str, TaskRecord] = OrderedDict()
        self._failures: OrderedDict[str, TaskRecord] = OrderedDict()
        self._forgotten = 0.0  # when the latest of those had ended

    def get(self, task_id: str) -> TaskRecord | None:
        """Return a task that ended not too long ago."""
        return self._failures.get(task_id) or self._others.get(task_id)

    def failures(self) -> list[TaskRecord]:
        """Return what has failed, the newest first; one that is queued will run again."""
        return list(self._failures.values())[::-1]

    def all(self) -> list[TaskRecord]:
        """Return all that is remembered, in no order."""
        return [*self._failures.values(), *self._others.values()]

    def since(self, then: float) -> list[TaskRecord]:
        """Return what has ended since `then` (seconds since the epoch), or in a shorter time.

        In that time nothing is forgotten: many successes must not leave the failures alone.
        """
        then = max(then, self._forgotten)
        return [task for task in self.all() if (task.finished_at or 0.0) > then]

    def succeeded(self, info: TaskInfo) -> None:
        """Remember how a run ended, and which request its task came from."""
        self._failures.pop(info.id, None)
        self._others.pop(info.id, None)
        has_failed = info.error is not None and info.state is not TaskState.CANCELLED
        tasks = self._failures if has_failed else self._others
        context = json.dumps(LOG_CONTEXT.inject())  # which is that of the task
        record = record_of(info, context)
        tasks[info.id] = replace(record, finished_at=time())
        if len(tasks) > self._limit:
            _, oldest = tasks.popitem(last=False)
            self._forgotten = max(self._forgotten, oldest.finished_at or 0.0)

    failed = timed_out = cancelled = retried = succeeded
