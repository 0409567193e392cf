"""Remembers the last ten minutes of this process, as much as fits into little memory."""

import time
from collections import deque
from typing import NamedTuple

from app.tasks import (
    Snapshot,
    TaskInfo,
    TaskObserver,
    TaskState,
    describe_error,
    describe_traceback,
)

INTERVAL = 2.0
"""Seconds between two snapshots."""
SPAN = 600.0
"""Seconds that are remembered."""
RUNS = 2000
FAILURES = 10
TRACEBACK_LENGTH = 4000
"""Characters. The end is kept, which names the exception and where it was raised."""


class Run(NamedTuple):
    """A run that has ended; it may be followed by another of the same task."""

    ended: float
    """`time.monotonic()`, seconds."""
    name: str
    wait: float
    duration: float
    succeeded: bool


class Failure(NamedTuple):
    """A run that failed."""

    id: str
    name: str
    state: TaskState
    """QUEUED if it is tried again."""
    attempt: int
    time: float
    """When it failed (seconds since the epoch)."""
    error: str
    traceback: str


class Recorder(TaskObserver):
    """What has happened in this process; the latest is last."""

    def __init__(self) -> None:
        self.snapshots: deque[Snapshot] = deque(maxlen=int(SPAN / INTERVAL))
        """One every `INTERVAL` seconds."""
        self.failures: deque[Failure] = deque(maxlen=FAILURES)
        self._runs: deque[Run] = deque(maxlen=RUNS)

    def runs(self) -> list[Run]:
        """Return the runs that have ended in the last ten minutes, or the latest of them."""
        since = time.monotonic() - SPAN
        return [run for run in self._runs if run.ended >= since]

    def succeeded(self, info: TaskInfo) -> None:
        """Remember a run."""
        self._add_run(info, succeeded=True)

    def failed(self, info: TaskInfo) -> None:
        """Remember a run and what went wrong."""
        self._add_run(info, succeeded=False)
        if info.error is not None:
            error = describe_error(info.error)
            traceback = "\n".join(describe_traceback(info.error))[-TRACEBACK_LENGTH:]
            now = time.time()
            failure = Failure(info.id, info.name, info.state, info.attempt, now, error, traceback)
            self.failures.append(failure)

    timed_out = failed
    retried = failed

    def _add_run(self, info: TaskInfo, *, succeeded: bool) -> None:
        if info.duration is not None:  # else it ended before it began
            run = Run(time.monotonic(), info.name, info.wait, info.duration, succeeded)
            self._runs.append(run)
