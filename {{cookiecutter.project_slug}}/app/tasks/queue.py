"""The queue: which of the waiting jobs goes next."""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Callable
from contextvars import copy_context
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from time import monotonic

from .info import TaskState
from .job import Job
from .lane import Entry, Lane

_QUEUED = TaskState.QUEUED  # looked up once: it is asked for with every task


class JobQueue:
    """Orders jobs by priority with aging; those over their own limit are parked, in no one's way.

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
        # are those whose place is not the last: they were parked, or have been due for a while.
        self._lines: defaultdict[int, deque[Job]] = defaultdict(deque)
        self._heap: list[Entry] = []
        self._cancelled = 0

    def __len__(self) -> int:
        """Return how many wait for nothing but a free slot, perhaps with some that gave up."""
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
        """Return the next job that may start, its slots taken; None if there is none."""
        while self._heap:
            entry = self._take()
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
                _drop_ended_from(lane.parked)
                lane.cancelled = 0
            self._unpark(lane)
        self._cancelled += 1
        if 2 * self._cancelled > len(self):
            self._drop_ended()
            self._cancelled = 0

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


def _drop_ended_from(heap: list[Entry]) -> None:
    heap[:] = [entry for entry in heap if entry[2].state is _QUEUED]
    heapify(heap)
