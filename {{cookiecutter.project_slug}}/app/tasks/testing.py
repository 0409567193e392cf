"""What helps to test tasks."""

from datetime import datetime
from typing import Any

from .task import Task


def next_runs(task: Task[..., Any], after: datetime, count: int) -> list[datetime]:
    """Return when a periodic task runs next after a time, in the time zone of its schedule.

    Raises ValueError for a task without a schedule, and for a time without a time zone.
    """
    if task.schedule is None or after.utcoffset() is None:
        msg = f"{task.name} needs a schedule, and {after!r} a time zone"
        raise ValueError(msg)
    tick, runs = after.timestamp(), []
    for _ in range(count):
        tick = task.schedule.next_after(tick)
        runs.append(datetime.fromtimestamp(tick, task.schedule.zone))
    return runs
