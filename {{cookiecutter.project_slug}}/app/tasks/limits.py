"""Limits: how many jobs may wait, and how many of one task may run or start."""

import math
import threading
from collections import deque
from typing import Any

from .rate import Rate
from .task import Task


class Capacity:
    """How many jobs may wait: reserved from any thread, and never more than `limit`.

    Waiting for it is not offered: a request has to know at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reserved = 0
        """How many jobs have room reserved for them."""
        self._lock = threading.Lock()

    def reserve(self, *, besides: int = 0) -> bool:
        """Reserve room for one job; False if there is none, `besides` of it being in use."""
        with self._lock:
            if self.reserved + besides >= self.limit:
                return False
            self.reserved += 1
            return True

    def release(self) -> None:
        """Free what was reserved for one job."""
        with self._lock:
            self.reserved -= 1


class Limiter:
    """Counts the runs of a task, or of one value of its `per`, for the limits that it has now."""

    def __init__(self, task: Task[..., Any] | None) -> None:
        self._task = task
        """None if nothing here limits it."""
        self._starts: deque[float] = deque()
        """The latest (`time.monotonic()`), as many as the rate allows in its period."""
        self.running = 0
        """How many runs go on."""

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
        """Say whether nothing runs, and no start counts for the rate any more."""
        rate = self._rate
        counts = rate and self._starts and self._starts[-1] + rate.period > now
        return self.running == 0 and not counts

    @property
    def _rate(self) -> Rate | None:
        return None if self._task is None else self._task.rate
