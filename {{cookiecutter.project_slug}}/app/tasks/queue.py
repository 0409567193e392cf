"""The queue: which of the waiting jobs goes next."""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from time import monotonic

from .info import TaskState
from .job import Job
from .limits import Limiter

_QUEUED = TaskState.QUEUED  # looked up once: it is asked for with every task

Entry = tuple[float, int, Job]
"""What the heaps hold: key, sequence number (so that jobs are never compared), job."""


class Throttled:
    """The jobs that one limiter holds back."""

    __slots__ = ("cancelled", "heap", "timer")

    def __init__(self) -> None:
        self.heap: list[Entry] = []
        self.cancelled = 0
        """Jobs cancelled since the heap was last searched for such."""
        self.timer: asyncio.TimerHandle | None = None
        """Until the rate allows the next start."""


class JobQueue:
    """Orders jobs by priority with aging; throttled ones wait apart, in no one's way.

    The key is `queued_at + priority * aging`. It never changes, so the heap stays a heap, yet
    every job grows older than any that may come later: nothing starves. Jobs of one priority
    leave in the order in which they came.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, aging: float, ready: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._context = copy_context()  # a timer would keep that of a job until it fires
        self._strict = math.isinf(aging)
        self._aging = aging
        self._ready = ready
        self._sequence = count()
        # Newcomers stand in the line of their priority, and only the first of each line is in the
        # heap: with all of a long queue in it, a task would cost a third more. Beside the firsts
        # are those that are not the youngest: they were throttled, or have been due for a while.
        self._lines: defaultdict[int, deque[Job]] = defaultdict(deque)
        self._heap: list[Entry] = []
        self._throttled: defaultdict[Limiter, Throttled] = defaultdict(Throttled)
        self._cancelled = 0

    def __len__(self) -> int:
        """Return how many wait for nothing but a free slot, perhaps with some cancelled ones."""
        return len(self._heap) + sum(len(line) - 1 for line in self._lines.values() if line)

    def push(self, job: Job, since: float = 0.0) -> None:
        """Let `job` wait; it could have run for `since` seconds."""
        job.queued_at = monotonic() - since
        job.sequence = next(self._sequence)
        if not since:
            line = self._lines[job.priority]
            line.append(job)
            if len(line) > 1:
                return
        heappush(self._heap, self._entry(job))

    def pop(self) -> Job | None:
        """Return the next job that may start, counted by its limiters; None if there is none."""
        while self._heap:
            entry = self._take()
            job = entry[2]
            if job.state is _QUEUED and self._admit(entry, job):
                return job
        return None

    def release(self, job: Job) -> None:
        """Let the limiters of a job that has run admit others."""
        for limiter in job.limiters:
            limiter.leave()
            self._admit_throttled(limiter)

    def discard(self, job: Job) -> None:
        """Forget a job that was cancelled while it waited, perhaps as the next to be admitted.

        Its entry stays until its turn comes, or until half of the entries may be such.
        """
        for limiter in job.limiters:
            throttled = self._throttled[limiter]
            throttled.cancelled += 1
            if 2 * throttled.cancelled > len(throttled.heap):
                _drop_ended_from(throttled.heap)
                throttled.cancelled = 0
            self._admit_throttled(limiter)
        self._cancelled += 1
        if 2 * self._cancelled > len(self):
            self._drop_ended()
            self._cancelled = 0

    def room(self, limiters: Sequence[Limiter]) -> float:
        """Return how many more jobs with these limiters could start at once; inf for any number."""
        now = monotonic()
        return min(
            (limiter.room(now) - len(self._throttled[limiter].heap) for limiter in limiters),
            default=math.inf,
        )

    def _entry(self, job: Job) -> Entry:
        key = job.priority if self._strict else job.queued_at + job.priority * self._aging
        return key, job.sequence, job

    def _take(self) -> Entry:
        """Take the first entry; the next of its line, if it stood in one, follows it."""
        job = self._heap[0][2]
        line = self._lines[job.priority]
        if line and line[0] is job:
            line.popleft()
            if line:
                return heapreplace(self._heap, self._entry(line[0]))
        return heappop(self._heap)

    def _drop_ended(self) -> None:
        firsts = [line[0] for line in self._lines.values() if line]
        self._heap = [entry for entry in self._heap if entry[2] not in firsts]
        for priority, line in self._lines.items():
            waiting = self._lines[priority] = deque(job for job in line if job.state is _QUEUED)
            if waiting:
                self._heap.append(self._entry(waiting[0]))
        _drop_ended_from(self._heap)

    def _admit(self, entry: Entry, job: Job) -> bool:
        if not job.limiters:
            return True
        now = monotonic()
        for limiter in job.limiters:
            if not self._is_open(limiter, now):
                self._throttle(entry, limiter, now)
                return False
        for limiter in job.limiters:
            limiter.enter(now)
            self._admit_throttled(limiter)
        return True

    def _is_open(self, limiter: Limiter, now: float) -> bool:
        # With a timer others wait for the rate already, and a newcomer must not pass them.
        waited_for = self._throttled[limiter].timer is not None
        return limiter.has_slot() and not waited_for and limiter.next_start() <= now

    def _throttle(self, entry: Entry, limiter: Limiter, now: float) -> None:
        throttled = self._throttled[limiter]
        heappush(throttled.heap, entry)
        if limiter.has_slot() and throttled.timer is None:  # it is the rate that says no
            wait = limiter.next_start() - now
            throttled.timer = self._loop.call_later(
                wait, self._rate_allows, limiter, context=self._context
            )
        limiters = entry[2].limiters
        for wider in limiters[limiters.index(limiter) + 1 :]:  # what this job did not use
            self._admit_throttled(wider)

    def _rate_allows(self, limiter: Limiter) -> None:
        self._throttled[limiter].timer = None
        self._admit_throttled(limiter)
        self._ready()

    def _admit_throttled(self, limiter: Limiter) -> None:
        """Let the first throttled job try again if there is a slot, as old as it is."""
        throttled = self._throttled[limiter]
        if throttled.timer is not None or not limiter.has_slot():
            return
        while throttled.heap:
            entry = heappop(throttled.heap)
            if entry[2].state is _QUEUED:  # not cancelled in the meantime
                heappush(self._heap, entry)
                return


def _drop_ended_from(heap: list[Entry]) -> None:
    heap[:] = [entry for entry in heap if entry[2].state is _QUEUED]
    heapify(heap)
