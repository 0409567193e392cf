"""Limits: how many jobs may wait, and how many of one task may run or start."""

import asyncio
import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any
from weakref import WeakValueDictionary

from .info import TaskState
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


CallLater = Callable[..., asyncio.TimerHandle]
"""`call_later` of an event loop."""

Entry = tuple[float, int, Any]
"""Key, sequence number (so that jobs are never compared), job."""


class Heap:
    """Waiting jobs in their order. Those of cancelled ones stay until half of all may be such."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.cancelled = 0

    def push(self, entry: Entry) -> None:
        """Add a job."""
        heappush(self.entries, entry)

    def pop(self) -> Entry | None:
        """Take the first job that has not been cancelled."""
        while self.entries:
            entry = heappop(self.entries)
            if entry[2].state is TaskState.QUEUED:
                return entry
        return None

    def note_cancelled(self) -> None:
        """Count one that may be here; drop them if they may be many."""
        self.cancelled += 1
        if 2 * self.cancelled > len(self.entries):
            self.entries[:] = [one for one in self.entries if one[2].state is TaskState.QUEUED]
            heapify(self.entries)
            self.cancelled = 0


_NO_STARTS: deque[float] = deque(maxlen=0)
"""One for all without a rate: it never holds anything, and a deque takes 760 bytes."""


class Limiter:
    """A limit on how many jobs run at once, on how often they start, or both."""

    def __init__(self, limit: int | None, rate: Rate | None = None) -> None:
        self.starts = _NO_STARTS
        """The latest (`time.monotonic()`), as many as the rate allows in its period."""
        self.change(limit, rate)
        self.running = 0
        self.throttled = Heap()
        """The jobs that it holds back."""
        self.timer: asyncio.TimerHandle | None = None
        """Set to when the rate allows the next start, if it holds one back."""
        self.keeper: asyncio.TimerHandle | None = None
        """Set to when no start counts any more, and the limiter may end."""

    def change(self, limit: int | None, rate: Rate | None) -> None:
        """Go on with other limits; what runs and has started counts."""
        self.limit = limit or math.inf
        self.rate = rate
        self.starts = _NO_STARTS if rate is None else deque(self.starts, maxlen=rate.count)

    def is_open(self, now: float) -> bool:
        """Say whether a job may start now; with a timer others wait for the rate already."""
        return self.running < self.limit and self.timer is None and self.next_start() <= now

    def next_start(self) -> float:
        """Return the time (`time.monotonic()`) at which the rate allows the next start."""
        if self.rate is None or len(self.starts) < self.rate.count:
            return -math.inf
        return self.starts[0] + self.rate.period

    def enter(self, now: float) -> None:
        """Note that a job starts."""
        self.running += 1
        self.starts.append(now)


class Limiters:
    """The limiters of all tasks, and that of the threads for sync functions. Not thread-safe."""

    def __init__(self, max_threads: int) -> None:
        self._threads = Limiter(max_threads)
        # They last as long as their jobs: of the values of `per` there may be any number.
        self._by_task: dict[str, WeakValueDictionary[str, Limiter]] = defaultdict(
            WeakValueDictionary
        )
        """Those of each task, by limit group."""

    def of(self, task: Task[..., Any], group: str) -> tuple[Limiter, ...]:
        """Return those that a call of a limit group has to pass, the narrowest first."""
        if task.max_concurrency is None and task.rate is None:
            return self.of_threads(task)
        known = self._by_task[task.name]
        limiter = known.get(group)
        if limiter is None:
            limiter = known[group] = Limiter(task.max_concurrency, task.rate)
        return (limiter, *self.of_threads(task))

    def change(self, task: Task[..., Any]) -> list[Limiter]:
        """Give the limiters of a task its present limits; return them."""
        limiters = list(self._by_task[task.name].values())
        for limiter in limiters:
            limiter.change(task.max_concurrency, task.rate)
        return limiters

    @property
    def free_threads(self) -> float:
        """How many more sync functions could run now."""
        threads = self._threads
        return max(threads.limit - threads.running - len(threads.throttled.entries), 0)

    def of_threads(self, task: Task[..., Any]) -> tuple[Limiter, ...]:
        """Return that of the threads, if a task needs one."""
        return () if task.is_async else (self._threads,)
