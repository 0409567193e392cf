"""The queue: which of the waiting jobs goes next."""

import asyncio
import math
from collections.abc import Callable
from contextvars import copy_context
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic

from .info import TaskState
from .job import Job
from .lane import Entry, Lane

_QUEUED = TaskState.QUEUED  # looked up once: it is asked for with every task


class JobQueue:
    """A heap by priority with aging; jobs over their own limit are parked and block nobody.

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
        self._heap: list[Entry] = []
        self._cancelled = 0

    def __len__(self) -> int:
        """Return how many wait for nothing but a free slot, perhaps with some that gave up."""
        return len(self._heap)

    def push(self, job: Job, since: float = 0.0) -> None:
        """Let `job` wait; it could have run for `since` seconds."""
        job.queued_at = monotonic() - since
        key = job.priority if self._strict else job.queued_at + job.priority * self._aging
        heappush(self._heap, (key, next(self._sequence), job))

    def pop(self) -> Job | None:
        """Return the next job that may start, its slots taken; None if there is none."""
        while self._heap:
            entry = heappop(self._heap)
            job = entry[2]
            if job.state is _QUEUED and self._admit(entry, job):
                return job
        return None

    def release(self, job: Job) -> None:
        """Give back the slots of a job that has run."""
        for lane in job.lanes:
            lane.running -= 1
            if lane.parked:
                self._unpark(lane)

    def discard(self, job: Job) -> None:
        """Forget a job that was cancelled while it waited, perhaps with a slot in prospect.

        Its entry stays until its turn comes, or until half of the entries may be such.
        """
        for lane in job.lanes:
            lane.cancelled += 1
            if 2 * lane.cancelled > len(lane.parked):
                _drop_ended(lane.parked)
                lane.cancelled = 0
            self._unpark(lane)
        self._cancelled += 1
        if 2 * self._cancelled > len(self._heap):
            _drop_ended(self._heap)
            self._cancelled = 0

    def _admit(self, entry: Entry, job: Job) -> bool:
        if not job.lanes:
            return True
        now = monotonic()
        for lane in job.lanes:
            if not lane.is_open(now):
                self._park(entry, lane, now)
                return False
        for lane in job.lanes:
            lane.enter(now)
            if lane.parked:
                self._unpark(lane)
        return True

    def _park(self, entry: Entry, lane: Lane, now: float) -> None:
        heappush(lane.parked, entry)
        if lane.has_slot() and lane.timer is None:  # it is the rate that says no
            wait = lane.next_start() - now
            lane.timer = self._loop.call_later(wait, self._wake, lane, context=self._context)
        lanes = entry[2].lanes
        for wider in lanes[lanes.index(lane) + 1 :]:  # the slots that this job did not take
            self._unpark(wider)

    def _wake(self, lane: Lane) -> None:
        lane.timer = None
        self._unpark(lane)
        self._ready()

    def _unpark(self, lane: Lane) -> None:
        """Let the first parked job try again if there is a slot; it goes back to its old place."""
        if lane.timer is not None or not lane.has_slot():
            return
        while lane.parked:
            entry = heappop(lane.parked)
            if entry[2].state is _QUEUED:  # not cancelled in the meantime
                heappush(self._heap, entry)
                return


def _drop_ended(heap: list[Entry]) -> None:
    heap[:] = [entry for entry in heap if entry[2].state is _QUEUED]
    heapify(heap)
