"""A lane: the limits of one task, and those of its jobs that wait for them."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from .rate import Rate, SlidingWindow

if TYPE_CHECKING:
    from .job import Job

Entry = tuple[float, int, "Job"]
"""What the heaps hold: key, sequence number (so that jobs are never compared), job."""


class Lane:
    """A limit on how many jobs run at once, on how often they start, or both.

    The jobs it holds back are parked here, out of the way of all the others. A job's lanes are
    ordered from narrow to wide: all jobs of the first are also in the second.
    """

    __slots__ = ("cancelled", "limit", "parked", "running", "timer", "window")

    def __init__(self, limit: int | None, rate: Rate | None = None) -> None:
        self.limit = limit
        self.window = None if rate is None else SlidingWindow(rate)
        self.running = 0
        self.parked: list[Entry] = []
        self.cancelled = 0
        """Jobs cancelled since the parked ones were last looked through."""
        self.timer: asyncio.TimerHandle | None = None

    def has_slot(self) -> bool:
        """Say whether fewer jobs run than may."""
        return self.limit is None or self.running < self.limit

    def is_open(self, now: float) -> bool:
        """Say whether another job may start."""
        if self.limit is not None and self.running >= self.limit:
            return False
        # With a timer others wait for the rate already, and a newcomer must not pass them.
        return self.window is None or (self.timer is None and self.window.next_start() <= now)

    def next_start(self) -> float:
        """Return the time at which the rate allows the next start."""
        return float("-inf") if self.window is None else self.window.next_start()

    def room(self, now: float) -> float:
        """Return how many more jobs could start at once, those that are parked aside."""
        slots = math.inf if self.limit is None else self.limit - self.running
        starts = math.inf if self.window is None else self.window.room(now)
        return min(slots, starts) - len(self.parked)

    def enter(self, now: float) -> None:
        """Note that a job starts."""
        self.running += 1
        if self.window is not None:
            self.window.record(now)
