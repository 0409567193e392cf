"""Remembers the latest runs and failures of this process, as many as fit into little memory."""

import time
from collections import deque
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from app.tasks import TaskInfo, TaskObserver, TaskState, describe_error, describe_traceback

_RUNS = 2000
FAILURES = 10
TRACEBACK_SIZE = 4000
"""Bytes of HTML. The last lines are kept, which name the exception and where it was raised."""


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
    """What has happened in this process."""

    def __init__(self) -> None:
        self._runs: deque[Run] = deque(maxlen=_RUNS)
        self._failures: deque[Failure] = deque(maxlen=FAILURES)

    def runs(self, seconds: float) -> Iterator[Run]:
        """Return the runs that have ended in the last `seconds`, or the latest of them."""
        since = time.monotonic() - seconds
        return (run for run in self._runs if run.ended >= since)

    def failures(self) -> list[Failure]:
        """Return the latest failures, the newest first."""
        return list(reversed(self._failures))

    def succeeded(self, info: TaskInfo) -> None:
        """Remember a run."""
        self._add_run(info, succeeded=True)

    def failed(self, info: TaskInfo) -> None:
        """Remember a run and what went wrong."""
        self._add_run(info, succeeded=False)
        if info.error is not None:
            error, traceback = describe_error(info.error), format_traceback(info.error)
            failure = Failure(
                info.id, info.name, info.state, info.attempt, time.time(), error, traceback
            )
            self._failures.append(failure)

    timed_out = failed
    retried = failed

    def _add_run(self, info: TaskInfo, *, succeeded: bool) -> None:
        if info.duration is not None:  # else it ended before it began
            run = Run(time.monotonic(), info.name, info.wait, info.duration, succeeded)
            self._runs.append(run)


def format_traceback(error: BaseException) -> str:
    """Return the end of a traceback, of bounded size and without secrets."""
    kept: list[str] = []
    room = TRACEBACK_SIZE
    for line in reversed(describe_traceback(error)):
        room -= len(escape(line)) + 1
        if room < 0:
            kept.append("…")
            break
        kept.append(line)
    return "\n".join(reversed(kept))
