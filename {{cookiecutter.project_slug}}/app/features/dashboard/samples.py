"""The runner every few seconds, for the last minutes."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic

from app.tasks import Snapshot

INTERVAL = 2.0
"""Seconds between two samples."""
SPAN = 600.0
"""Seconds that are remembered."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The runner at one moment."""

    moment: float
    """`time.monotonic()`, seconds."""
    queue_depth: Mapping[int, int]
    """How many wait, by priority."""
    succeeded: int
    failed: int
    """Ended since the start of the runner, as is `succeeded`."""


class Samples:
    """A ring of samples, the oldest first."""

    def __init__(self) -> None:
        self._ring: deque[Sample] = deque(maxlen=int(SPAN / INTERVAL))

    def add(self, snapshot: Snapshot) -> None:
        """Remember a snapshot that was just taken."""
        self._ring.append(
            Sample(monotonic(), snapshot.queue_depth, snapshot.succeeded, snapshot.failed)
        )

    def since(self, moment: float) -> list[Sample]:
        """Return the samples from a moment of `time.monotonic()` on."""
        return [sample for sample in self._ring if sample.moment >= moment]

    def throughput(self, seconds: float) -> float | None:
        """Return the tasks ended per second over the last `seconds`; None if it is not known."""
        latest = self.since(monotonic() - seconds)
        if len(latest) < 2:  # noqa: PLR2004 - a difference needs two
            return None
        first, last = latest[0], latest[-1]
        ended = last.succeeded + last.failed - first.succeeded - first.failed
        return ended / (last.moment - first.moment)
