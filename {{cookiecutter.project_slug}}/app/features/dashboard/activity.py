"""Remembers the last ten minutes of this process, as much as fits into little memory."""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import replace
from time import time
from typing import NamedTuple

from app.tasks import (
    RunnerClosed,
    Snapshot,
    TaskInfo,
    TaskObserver,
    TaskRecord,
    TaskRunner,
    TaskState,
    describe_error,
    record_of,
)

INTERVAL = 2.0
"""Seconds between two snapshots."""
SPAN = 600.0
"""Seconds that are remembered."""
SNAPSHOTS = int(SPAN / INTERVAL)
MAX_RUNS = 2000
MAX_FAILURES = 100


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


class RecentActivity(TaskObserver):
    """What has happened in this process; the latest is last."""

    def __init__(self) -> None:
        self.snapshots: deque[Snapshot] = deque(maxlen=SNAPSHOTS)
        """One every `INTERVAL` seconds."""
        self.failures: deque[tuple[Run, TaskRecord]] = deque(maxlen=MAX_FAILURES)
        self._runs: deque[Run] = deque(maxlen=MAX_RUNS)

    async def sample(self, runner: TaskRunner) -> None:
        """Take snapshots until it is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            with suppress(RunnerClosed):  # it starts after the features
                self.snapshots.append(runner.snapshot(0))

    def until(self, now: Snapshot) -> list[Snapshot]:
        """Return the snapshots of the last ten minutes, or since the start; `now` is the last."""
        snapshots = [*self.snapshots, now]
        if len(self.snapshots) < SNAPSHOTS:  # totals count from the start
            snapshots.insert(0, replace(snapshots[0], succeeded=0, failed=0))
        return snapshots

    def runs(self) -> list[Run]:
        """Return the runs that have ended in the last ten minutes, or the latest of them."""
        since = time() - SPAN
        return [run for run in self._runs if run.ended >= since]

    def find(self, task_id: str) -> TaskRecord | None:
        """Return one of the failures."""
        return next((task for _, task in reversed(self.failures) if task.id == task_id), None)

    def succeeded(self, info: TaskInfo) -> None:
        """Remember a run, and what went wrong."""
        error = "" if info.error is None else describe_error(info.error)
        times = (info.wait, info.duration or 0.0, time())  # no duration: it never began
        run = Run(info.id, info.name, info.state, info.attempt, *times, error)
        self._runs.append(run)
        if info.error is not None:
            self.failures.append((run, record_of(info)))

    failed = succeeded
    timed_out = succeeded
    retried = succeeded
