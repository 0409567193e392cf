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

    name: str
    wait: float
    duration: float
    ended: float
    failed: bool


class RecentActivity(TaskObserver):
    """What has happened in this process; the latest is last."""

    def __init__(self) -> None:
        self.snapshots: deque[Snapshot] = deque(maxlen=SNAPSHOTS)
        """One every `INTERVAL` seconds."""
        self.failures: deque[TaskRecord] = deque(maxlen=MAX_FAILURES)
        """Also of runs that will be repeated."""
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
        return next((task for task in reversed(self.failures) if task.id == task_id), None)

    def succeeded(self, info: TaskInfo) -> None:
        """Remember a run, and what went wrong."""
        duration = info.duration or 0.0  # None if it never began
        failed = info.error is not None
        self._runs.append(Run(info.name, info.wait, duration, time(), failed))
        if failed:
            self.failures.append(replace(record_of(info), finished_at=time()))

    failed = succeeded
    timed_out = succeeded
    retried = succeeded
