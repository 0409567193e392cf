"""Limits: how many jobs may wait, and how many of one task may run or start."""

import asyncio
import math
import threading
from collections.abc import MutableMapping
from heapq import heapify, heappop, heappush
from typing import Any
from weakref import WeakValueDictionary

from .info import TaskState
from .rate import Rate, SlidingWindow
from .task import Task

_QUEUED = TaskState.QUEUED  # looked up once: it is asked for with every task


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


Entry = tuple[float, int, Any]
"""Key, sequence number (so that jobs are never compared), job."""


class Heap:
    """Waiting jobs in their order. Those of cancelled ones stay until half of all may be such."""

    __slots__ = ("cancelled", "entries")

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
            if entry[2].state is _QUEUED:
                return entry
        return None

    def note_cancelled(self) -> None:
        """Count one that may be here; drop them if they may be many."""
        self.cancelled += 1
        if 2 * self.cancelled > len(self.entries):
            self.entries[:] = [entry for entry in self.entries if entry[2].state is _QUEUED]
            heapify(self.entries)
            self.cancelled = 0


class Limiter:
    """A limit on how many jobs run at once, on how often they start, or both."""

    __slots__ = ("__weakref__", "keeper", "limit", "running", "throttled", "timer", "window")

    def __init__(self, limit: int | None, rate: Rate | None = None) -> None:
        self.limit = limit or math.inf
        self.window = None if rate is None else SlidingWindow(rate)
        self.running = 0
        self.throttled = Heap()
        """The jobs that it holds back."""
        self.timer: asyncio.TimerHandle | None = None
        """Set to when the rate allows the next start, if it holds one back."""
        self.keeper: asyncio.TimerHandle | None = None
        """Set to when no start counts any more: a limiter of one value of `per` ends then."""

    def change(self, limit: int | None, rate: Rate | None) -> None:
        """Go on with other limits; what runs and has started counts."""
        self.limit = limit or math.inf
        starts = () if self.window is None else self.window.starts
        self.window = None if rate is None else SlidingWindow(rate, starts)

    def is_open(self, now: float) -> bool:
        """Say whether a job may start now; with a timer others wait for the rate already."""
        return self.running < self.limit and self.timer is None and self.next_start() <= now

    def next_start(self) -> float:
        """Return the time (`time.monotonic()`) at which the rate allows the next start."""
        return float("-inf") if self.window is None else self.window.next_start()

    def enter(self, now: float) -> None:
        """Note that a job starts."""
        self.running += 1
        if self.window is not None:
            self.window.record(now)


class Limiters:
    """The limiters of all tasks, and that of the threads for sync functions. Not thread-safe."""

    def __init__(self, max_threads: int) -> None:
        self._threads = Limiter(max_threads)
        self._by_task: dict[str, MutableMapping[str, Limiter]] = {}
        """Those of each task, by limit group."""

    def of(self, task: Task[..., Any], group: str) -> tuple[Limiter, ...]:
        """Return those that a call of a limit group has to pass, the narrowest first."""
        if task.max_concurrency is None and task.rate is None:
            return self.of_threads(task)
        known = self._by_task.get(task.name)
        if known is None:
            # Of the values of `per` there may be any number: they last as long as their jobs.
            known = self._by_task[task.name] = {} if task.per is None else WeakValueDictionary()
        limiter = known.get(group)
        if limiter is None:
            limiter = known[group] = Limiter(task.max_concurrency, task.rate)
        return (limiter, *self.of_threads(task))

    def change(self, task: Task[..., Any]) -> list[Limiter]:
        """Give the limiters of a task its present limits; return them."""
        limiters = list(self._by_task.get(task.name, {}).values())
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
