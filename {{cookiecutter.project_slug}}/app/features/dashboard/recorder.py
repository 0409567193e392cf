"""Remembers the last ten minutes of this process, as much as fits into little memory."""

from collections import deque
from time import time
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
    """A run that has ended. Times are in seconds, `ended` is since the epoch."""

    id: str
    name: str
    state: TaskState
    """QUEUED if the task is tried again."""
    attempt: int
    wait: float
    duration: float
    ended: float
    error: str
    """Empty if it succeeded."""


class Recorder(TaskObserver):
    """What has happened in this process; the latest is last."""

    def __init__(self) -> None:
        self.snapshots: deque[Snapshot] = deque(maxlen=int(SPAN / INTERVAL))
        """One every `INTERVAL` seconds."""
        self.failures: deque[tuple[Run, str]] = deque(maxlen=FAILURES)
        """With their tracebacks."""
        self._runs: deque[Run] = deque(maxlen=RUNS)

    def runs(self) -> list[Run]:
        """Return the runs that have ended in the last ten minutes, or the latest of them."""
        since = time() - SPAN
        return [run for run in self._runs if run.ended >= since]

    def succeeded(self, info: TaskInfo) -> None:
        """Remember a run, and what went wrong."""
        error = "" if info.error is None else describe_error(info.error)
        times = (info.wait, info.duration or 0.0, time())  # no duration: it never began
        run = Run(info.id, info.name, info.state, info.attempt, *times, error)
        self._runs.append(run)
        if info.error is not None:
            traceback = "\n".join(describe_traceback(info.error))
            self.failures.append((run, traceback[-TRACEBACK_LENGTH:]))

    failed = succeeded
    timed_out = succeeded
    retried = succeeded
