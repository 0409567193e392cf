"""Limits: how many jobs may wait, and how many of one task may run or start."""

import math
import threading
from collections import deque

from .job import Job
from .rate import Rate


class Capacity:
    """How many jobs may wait: reserved from any thread, and never more than `limit`.

    Waiting for it is not offered: a request has to know at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reserved = 0
        """How many jobs have room reserved for them."""
        self._lock = threading.Lock()

    def reserve(self, *, besides: int = 0, regardless: bool = False) -> bool:
        """Reserve room for one job; False if there is none, `besides` of it being in use."""
        with self._lock:
            if self.reserved + besides >= self.limit and not regardless:
                return False
            self.reserved += 1
            return True

    def release(self) -> None:
        """Free what was reserved for one job."""
        with self._lock:
            self.reserved -= 1


class JobGroup:
    """The jobs of a task, or of one value of its `per`: its limits hold for them together.

    The limits are those that the task has when they are asked for.
    """

    def __init__(self, job: Job) -> None:
        self.name = job.name
        self.in_threads = not job.is_async
        self._task = None if job.limit_group is None else job.task
        """None if nothing here limits it."""
        self.waiting: list[Job] = []
        """In their order."""
        self.running = 0
        self._starts: deque[float] = deque()
        """The latest (`time.monotonic()`), as many as the rate allows in its period."""

    @property
    def position(self) -> tuple[float, int]:
        """That of the first job that waits."""
        return self.waiting[0].position

    def is_open(self, now: float) -> bool:
        """Say whether a job may start now."""
        limit = None if self._task is None else self._task.max_concurrency
        return self.running < (limit or math.inf) and self.next_start() <= now

    def next_start(self) -> float:
        """Return the time (`time.monotonic()`) at which the rate allows the next start."""
        rate = self._rate
        if rate is None or len(self._starts) < rate.count:
            return -math.inf
        return self._starts[-rate.count] + rate.period

    def note_start(self, now: float) -> None:
        """Count a start by the rate."""
        if rate := self._rate:
            self._starts.append(now)
            while len(self._starts) > rate.count:
                self._starts.popleft()

    def is_idle(self, now: float) -> bool:
        """Say whether nothing waits or runs, and no start counts for the rate any more."""
        rate = self._rate
        counts = rate and self._starts and self._starts[-1] + rate.period > now
        return not (self.waiting or self.running or counts)

    @property
    def _rate(self) -> Rate | None:
        return None if self._task is None else self._task.rate
