"""Limits: how many jobs may wait, and how many runs of a task may start in a period."""

import re
import threading
from dataclasses import dataclass

_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_RATE = re.compile(r"\s*([1-9][0-9]{0,8})\s*/\s*(second|minute|hour|day)\s*", re.ASCII)


class Capacity:
    """Room for at most `limit` waiting jobs, which any thread may reserve.

    `reserve` never waits for room, because a request must know at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reserved = 0
        """The number of jobs that have room reserved."""
        self._lock = threading.Lock()

    def reserve(self, *, waiting_elsewhere: int = 0, even_if_full: bool = False) -> bool:
        """Reserve room for a job; return False if full. Jobs `waiting_elsewhere` count too."""
        with self._lock:
            if self.reserved + waiting_elsewhere >= self.limit and not even_if_full:
                return False
            self.reserved += 1
            return True

    def release(self) -> None:
        """Release the room that was reserved for one job."""
        with self._lock:
            self.reserved -= 1


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` starts in any window of `period` seconds."""

    count: int
    period: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Parse "10/minute"; raise ValueError for anything else."""
        match = _RATE.fullmatch(text)
        if match is None:
            msg = f'a rate is written like "10/minute" (second, minute, hour or day), not {text!r}'
            raise ValueError(msg)
        return cls(int(match[1]), _SECONDS[match[2]])

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        (unit,) = (unit for unit, seconds in _SECONDS.items() if seconds == self.period)
        return f"{self.count}/{unit}"
