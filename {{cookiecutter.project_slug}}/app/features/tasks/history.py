"""Remembers how the latest tasks ended: those in memory leave no other trace."""

from collections import OrderedDict

from app.logs import log_context
from app.tasks import TaskInfo, TaskObserver, TaskRecord, TaskState, record_of

FAILED = (TaskState.FAILED, TaskState.TIMED_OUT, TaskState.DEAD)


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
        failures = [ended for ended in self._ended.values() if ended.state in FAILED]
        return failures[::-1][:limit]

    def succeeded(self, info: TaskInfo) -> None:
        """Remember that a task is done."""
        self._remember(record_of(info))

    def failed(self, info: TaskInfo) -> None:
        """Remember how a task ended, and which request it came from."""
        # The context is that of the task. To read it takes as long as many a task that succeeds.
        self._remember(record_of(info, log_context()))

    timed_out = failed
    cancelled = failed

    def _remember(self, ended: TaskRecord) -> None:
        self._ended[ended.id] = ended
        self._ended.move_to_end(ended.id)
        if len(self._ended) > self._limit:
            self._ended.popitem(last=False)
