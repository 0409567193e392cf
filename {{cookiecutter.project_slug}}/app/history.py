"""Remembers how the latest tasks ended, because in-memory tasks leave no other record."""

import json
from collections import OrderedDict
from dataclasses import replace
from time import time

from app.logs import LOG_CONTEXT
from app.tasks import TaskInfo, TaskObserver, TaskRecord, TaskState, record_of


class History(TaskObserver):
    """The latest run of each of the `limit` tasks that ended last in this process.

    Failures have a limit of their own, so that no number of successes displaces them.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._others: OrderedDict[str, TaskRecord] = OrderedDict()
        self._failures: OrderedDict[str, TaskRecord] = OrderedDict()
        self._forgotten_until = 0.0  # when the latest task that is forgotten had ended

    def get(self, task_id: str) -> TaskRecord | None:
        """Return the latest run of a task, or None if it is not remembered."""
        return self._failures.get(task_id) or self._others.get(task_id)

    def failures(self) -> list[TaskRecord]:
        """Return the failed runs, the newest first; a task that is queued will run again."""
        return list(self._failures.values())[::-1]

    def all(self) -> list[TaskRecord]:
        """Return all remembered runs, in no particular order."""
        return [*self._failures.values(), *self._others.values()]

    def since(self, then: float) -> list[TaskRecord]:
        """Return the runs that ended after `then` (seconds since the epoch).

        If some of them are forgotten, only later ones are returned: failures without the successes
        of the same time would mislead.
        """
        then = max(then, self._forgotten_until)
        return [task for task in self.all() if (task.finished_at or 0.0) > then]

    def succeeded(self, info: TaskInfo) -> None:
        """Remember how a run ended, and which request had submitted its task."""
        self._failures.pop(info.id, None)
        self._others.pop(info.id, None)
        has_failed = info.error is not None and info.state is not TaskState.CANCELLED
        tasks = self._failures if has_failed else self._others
        context = json.dumps(LOG_CONTEXT.inject())  # the log context of the task
        record = record_of(info, context)
        tasks[info.id] = replace(record, finished_at=time())
        if len(tasks) > self._limit:
            _, oldest = tasks.popitem(last=False)
            self._forgotten_until = max(self._forgotten_until, oldest.finished_at or 0.0)

    failed = timed_out = cancelled = retried = succeeded
