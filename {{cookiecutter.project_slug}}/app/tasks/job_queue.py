"""The queue: which of the waiting jobs goes next."""

import math
from bisect import bisect_left, insort
from collections import deque
from itertools import count
from operator import attrgetter
from time import monotonic

from .job import Job
from .limits import Rate

_position = attrgetter("position")
_IDLE_KEPT = 100
"""Groups without jobs that are kept, beside as many as have some: each value of `per` is one."""


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


class JobQueue:
    """Orders jobs by priority with aging; throttled ones are in no one's way.

    The key is `queued_at + priority * aging`. It never changes, yet every job grows older than any
    that may come later: nothing starves. Jobs of one priority leave in the order in which they
    came.
    """

    def __init__(self, aging: float, max_threads: int) -> None:
        self._aging = aging
        self._sequence = count()
        self._groups: dict[tuple[object, str | None, bool], JobGroup] = {}
        self._waiting: set[JobGroup] = set()
        """Those of them that have jobs."""
        self._most_groups = _IDLE_KEPT
        self.paused: set[str] = set()
        """The names of tasks of which nothing starts."""
        self.free_threads = max_threads
        """How many more sync functions could run now."""

    def __bool__(self) -> bool:
        """Say whether a job waits for nothing but a free slot."""
        return self._next_group(monotonic()) is not None

    def push(self, job: Job, since: float = 0.0) -> None:
        """Let `job` wait; it could have run for `since` seconds."""
        job.queued_at = monotonic() - since
        key = job.queued_at + job.priority * self._aging
        job.position = (key, next(self._sequence))
        group = self._group_of(job)
        insort(group.waiting, job, key=_position)
        self._waiting.add(group)

    def pop(self, now: float) -> Job | None:
        """Return the next job that may start; None if there is none."""
        group = self._next_group(now)
        if group is None:
            return None
        group.note_start(now)
        job = group.waiting[0]
        self.discard(job)
        return job

    def enter(self, job: Job) -> None:
        """Count a run by the limits of its task, until `release`."""
        group = self._group_of(job)
        group.running += 1
        self.free_threads -= group.in_threads

    def release(self, job: Job) -> None:
        """Let others have what a job that has run has taken."""
        group = self._group_of(job)
        group.running -= 1
        self.free_threads += group.in_threads

    def discard(self, job: Job) -> None:
        """Forget a job, if it waits."""
        group = self._group_of(job)
        index = bisect_left(group.waiting, job.position, key=_position)
        if job in group.waiting[index : index + 1]:
            del group.waiting[index]
            if not group.waiting:
                self._waiting.remove(group)

    def next_start(self, now: float) -> float:
        """Return when a rate next lets a waiting job start, after `now`; inf if none does."""
        times = (group.next_start() for group in self._waiting)
        return min((time for time in times if time > now), default=math.inf)

    def earliest_start(self, job: Job) -> float:
        """Return when a job may start by the rate of its task; inf if it is paused."""
        return math.inf if job.name in self.paused else self._group_of(job).next_start()

    def _next_group(self, now: float) -> JobGroup | None:
        able = (group for group in self._waiting if self.free_threads > 0 or not group.in_threads)
        open_ = (one for one in able if one.name not in self.paused and one.is_open(now))
        return min(open_, key=lambda group: group.waiting[0].position, default=None)

    def _group_of(self, job: Job) -> JobGroup:
        # Of those that nothing limits by name: each call of an undecorated function is a new task.
        owner = job.name if job.limit_group is None else job.task
        key = (owner, job.limit_group, job.is_async)
        if key not in self._groups:
            if len(self._groups) >= self._most_groups:
                self._drop_idle_groups()
            self._groups[key] = JobGroup(job)
        return self._groups[key]

    def _drop_idle_groups(self) -> None:
        now = monotonic()
        self._groups = {k: group for k, group in self._groups.items() if not group.is_idle(now)}
        self._most_groups = 2 * len(self._groups) + _IDLE_KEPT
