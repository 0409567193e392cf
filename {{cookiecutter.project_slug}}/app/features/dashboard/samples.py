"""Snapshots of the runner, one every few seconds, for the last minutes."""

from collections import deque
from time import monotonic
from typing import NamedTuple

from app.tasks import Snapshot

INTERVAL = 2.0
"""Seconds between two samples."""
SPAN = 600.0
"""Seconds that are remembered."""


class Sample(NamedTuple):
    """What the runner was doing at a time (`time.monotonic()`, seconds)."""

    time: float
    snapshot: Snapshot

    @property
    def ended(self) -> int:
        """Tasks ended since the start of the runner."""
        return self.snapshot.succeeded + self.snapshot.failed


class Samples:
    """The latest samples, the oldest first."""

    def __init__(self) -> None:
        self._latest: deque[Sample] = deque(maxlen=int(SPAN / INTERVAL))

    def add(self, snapshot: Snapshot) -> None:
        """Remember a snapshot that was just taken."""
        self._latest.append(Sample(monotonic(), snapshot))

    def since(self, time: float) -> list[Sample]:
        """Return the samples from a time of `time.monotonic()` on."""
        return [sample for sample in self._latest if sample.time >= time]

    def throughput(self, seconds: float) -> float | None:
        """Return the tasks ended per second over the last `seconds`; None if it is not known."""
        latest = self.since(monotonic() - seconds)
        if len(latest) < 2:  # noqa: PLR2004 - a difference needs two
            return None
        first, last = latest[0], latest[-1]
        return (last.ended - first.ended) / (last.time - first.time)
