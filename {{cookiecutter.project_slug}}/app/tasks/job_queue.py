"""The queue: which of the waiting jobs goes next."""

import math
from collections.abc import Callable
from itertools import count
from time import monotonic

from .job import Job
from .limits import CallLater, Entry, Heap, Limiter


class JobQueue:
    """Orders jobs by priority with aging; throttled ones wait apart, in no one's way.

    The key is `queued_at + priority * aging`. It never changes, so the heap stays a heap, yet
    every job grows older than any that may come later: nothing starves. Jobs of one priority
    leave in the order in which they came.
    """

    def __init__(self, call_later: CallLater, aging: float, ready: Callable[[], None]) -> None:
        self._call_later = call_later
        self._strict = math.isinf(aging)
        self._aging = aging
        self._ready = ready
        self._sequence = count()
        self._heap = Heap()
        self.paused: dict[str, Heap] = {}
        """What is held back of each task that is paused."""

    def __len__(self) -> int:
        """Return how many wait for nothing but a free slot, perhaps with some cancelled ones."""
        return len(self._heap.entries)

    def push(self, job: Job, since: float = 0.0) -> None:
        """Let `job` wait; it could have run for `since` seconds."""
        job.queued_at = monotonic() - since
        key = job.priority if self._strict else job.queued_at + job.priority * self._aging
        self._heap.push((key, next(self._sequence), job))

    def pop(self) -> Job | None:
        """Return the next job that may start, counted by its limiters; None if there is none."""
        while (entry := self._heap.pop()) is not None:
            job: Job = entry[2]
            if job.name in self.paused:
                self._hold_back(entry)
            elif not job.limiters or self._admit(entry):
                return job
        return None

    def set_paused(self, name: str, *, paused: bool) -> None:
        """Hold back the jobs of a task, or let them take their turn, as old as they are."""
        if paused:
            self.paused.setdefault(name, Heap())
        elif name in self.paused:
            held_back = self.paused.pop(name)
            while (entry := held_back.pop()) is not None:
                self._heap.push(entry)
            self._ready()

    def limits_changed(self, limiter: Limiter) -> None:
        """Let those that a limiter holds back try again."""
        if limiter.timer is not None:
            limiter.timer.cancel()
            limiter.timer = None
        self._admit_throttled(limiter)

    def release(self, job: Job) -> None:
        """Let the limiters of a job that has run admit others."""
        for limiter in job.limiters:
            limiter.running -= 1
            self._admit_throttled(limiter)

    def discard(self, job: Job) -> None:
        """Forget a job that was cancelled while it waited, perhaps as the next to be admitted."""
        for limiter in job.limiters:
            limiter.throttled.note_cancelled()
            self._admit_throttled(limiter)
        self._heap.note_cancelled()
        if job.name in self.paused:
            self.paused[job.name].note_cancelled()

    def _admit(self, entry: Entry) -> bool:
        now = monotonic()
        limiters = entry[2].limiters
        for limiter in limiters:
            if not limiter.is_open(now):
                self._throttle(entry, limiter, now)
                return False
        for limiter in limiters:
            limiter.enter(now)
            if limiter.starts and limiter.keeper is None:
                self._keep(limiter)
            self._admit_throttled(limiter)
        return True

    def _keep(self, limiter: Limiter) -> None:
        """Let a timer keep a limiter for as long as its latest start counts."""
        limiter.keeper = None
        if limiter.rate is not None and limiter.starts:
            left = limiter.starts[-1] + limiter.rate.period - monotonic()
            if left > 0:
                limiter.keeper = self._call_later(left, self._keep, limiter)

    def _hold_back(self, entry: Entry) -> None:
        self.paused[entry[2].name].push(entry)
        for limiter in entry[2].limiters:  # what this job did not use
            self._admit_throttled(limiter)

    def _throttle(self, entry: Entry, limiter: Limiter, now: float) -> None:
        limiter.throttled.push(entry)
        if limiter.running < limiter.limit and limiter.timer is None:  # the rate says no
            wait = limiter.next_start() - now
            limiter.timer = self._call_later(wait, self._rate_allows, limiter)
        limiters = entry[2].limiters
        for wider in limiters[limiters.index(limiter) + 1 :]:  # what this job did not use
            self._admit_throttled(wider)

    def _rate_allows(self, limiter: Limiter) -> None:
        limiter.timer = None
        self._admit_throttled(limiter)
        self._ready()

    def _admit_throttled(self, limiter: Limiter) -> None:
        """Let the first throttled job try again if there is a slot, as old as it is."""
        if limiter.throttled.entries and limiter.timer is None and limiter.running < limiter.limit:
            entry = limiter.throttled.pop()
            if entry is not None:
                self._heap.push(entry)
