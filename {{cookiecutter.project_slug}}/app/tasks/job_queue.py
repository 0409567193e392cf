"""The queue: which of the waiting jobs starts next."""

import math
from bisect import bisect_left, insort
from collections import deque
from itertools import count
from operator import attrgetter
from time import monotonic

from .job import Job
from .limits import Rate

_position = attrgetter("position")
_IDLE_GROUPS_KEPT = 100
"""How many more groups may be idle than busy: each value of `per` has a group of its own."""


class JobGroup:
    """The jobs of a task, or of one value of its `per`, to which its limits apply together.

    The limits are read from the task each time, since they may be changed at run time.
    """

    def __init__(self, job: Job) -> None:
        self.name = job.name
        self.in_threads = not job.is_async
        self._task = None if job.limit_group is None else job.task
        """None if this process counts no limits for it."""
        self.waiting: list[Job] = []
        """In the order of their positions."""
        self.running = 0
        self._starts: deque[float] = deque()
        """The latest starts (`time.monotonic()`), as many as the rate allows in its period."""

    def may_start(self, now: float) -> bool:
        """Return whether the limits allow a job to start now."""
        limit = None if self._task is None else self._task.max_concurrency
        return self.running < (limit or math.inf) and self.next_start() <= now

    def next_start(self) -> float:
        """Return the time (`time.monotonic()`) at which the rate allows the next start."""
        rate = self._rate
        if rate is None or len(self._starts) < rate.count:
            return -math.inf
        return self._starts[-rate.count] + rate.period

    def note_start(self, now: float) -> None:
        """Count a start for the rate limit."""
        if rate := self._rate:
            self._starts.append(now)
            while len(self._starts) > rate.count:
                self._starts.popleft()

    def is_idle(self, now: float) -> bool:
        """Return whether no job waits or runs, and the rate no longer counts any start."""
        rate = self._rate
        rate_counts = rate and self._starts and self._starts[-1] + rate.period > now
        return not (self.waiting or self.running or rate_counts)

    @property
    def _rate(self) -> Rate | None:
        return None if self._task is None else self._task.rate


class JobQueue:
    """Orders jobs by priority with aging; throttled jobs do not block others.

    The sort key is `queued_at + priority * aging`, the lowest first. It never changes, while those
    of new jobs grow with the time, so that no job starves. Jobs of one priority start in the order
    in which they became due.
    """

    def __init__(self, aging: float, max_threads: int) -> None:
        self._aging = aging
        self._sequence = count()
        self._groups: dict[tuple[object, str | None, bool], JobGroup] = {}
        self._waiting: set[JobGroup] = set()
        """The groups in which jobs wait."""
        self._max_groups = _IDLE_GROUPS_KEPT
        self.paused: set[str] = set()
        """The names of paused tasks, whose jobs do not start."""
        self.free_threads = max_threads
        """How many more sync functions could run now."""

    def __bool__(self) -> bool:
        """Return whether a job waits only for a free slot."""
        return self._next_group(monotonic()) is not None

    def push(self, job: Job, due_for: float = 0.0) -> None:
        """Queue a job that has been due for `due_for` seconds."""
        job.queued_at = monotonic() - due_for
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

    def acquire(self, job: Job) -> None:
        """Count a run against the limits of its task, until `release`."""
        group = self._group_of(job)
        group.running += 1
        self.free_threads -= group.in_threads

    def release(self, job: Job) -> None:
        """Stop counting a run, which has ended."""
        group = self._group_of(job)
        group.running -= 1
        self.free_threads += group.in_threads

    def discard(self, job: Job) -> None:
        """Remove a job if it waits."""
        group = self._group_of(job)
        index = bisect_left(group.waiting, job.position, key=_position)
        if job in group.waiting[index : index + 1]:
            del group.waiting[index]
            if not group.waiting:
                self._waiting.remove(group)

    def next_start(self, now: float) -> float:
        """Return the next time after `now` at which a rate lets a job start; inf if none does."""
        times = (group.next_start() for group in self._waiting)
        return min((time for time in times if time > now), default=math.inf)

    def earliest_start(self, job: Job) -> float:
        """Return when the rate of its task lets a job start; inf if the task is paused."""
        return math.inf if job.name in self.paused else self._group_of(job).next_start()

    def _next_group(self, now: float) -> JobGroup | None:
        has_thread = self.free_threads > 0
        startable = (
            group
            for group in self._waiting
            if (has_thread or not group.in_threads)
            and group.name not in self.paused
            and group.may_start(now)
        )
        return min(startable, key=lambda group: group.waiting[0].position, default=None)

    def _group_of(self, job: Job) -> JobGroup:
        # Without limits the name is the key: each call of an undecorated function is a new task.
        owner = job.name if job.limit_group is None else job.task
        key = (owner, job.limit_group, job.is_async)
        if key not in self._groups:
            if len(self._groups) >= self._max_groups:
                self._drop_idle_groups()
            self._groups[key] = JobGroup(job)
        return self._groups[key]

    def _drop_idle_groups(self) -> None:
        now = monotonic()
        self._groups = {k: group for k, group in self._groups.items() if not group.is_idle(now)}
        self._max_groups = 2 * len(self._groups) + _IDLE_GROUPS_KEPT
