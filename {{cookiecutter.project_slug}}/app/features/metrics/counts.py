"""What is counted of tasks, in plain Python.

Each step of the Prometheus client's own counters takes a lock, and the four steps of a short task
cost half as much as its whole run. The hooks of an observer run on one thread and need no lock.
"""

from bisect import bisect_left
from collections import Counter
from time import time

from app.tasks import TaskState

# From a cache hit to the default timeout of a task.
BOUNDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, float("inf"))


class Distribution:
    """How many times, in seconds, lay up to each of the bounds and above the one before it."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(BOUNDS)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class TaskCounts:
    """The counts of one task, since `created` (seconds since the epoch)."""

    __slots__ = ("created", "ended", "errors", "rejected", "retried", "running", "runs", "started")

    def __init__(self) -> None:
        self.created = time()
        self.started = 0
        self.running = 0
        self.retried = 0
        self.rejected = 0
        self.runs = Distribution()
        self.ended: Counter[TaskState] = Counter({TaskState.SUCCEEDED: 0})
        self.errors: Counter[str] = Counter()


class PriorityCounts:
    """The counts of one task at one priority."""

    __slots__ = ("created", "of_task", "waiting", "waits")

    def __init__(self, of_task: TaskCounts) -> None:
        self.created = time()
        self.of_task = of_task
        self.waiting = 0
        self.waits = Distribution()
