"""Remembers what the runner of this process did in the last ten minutes, and draws charts of it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from fastapi import FastAPI

from app.tasks import Priority, RunnerClosed, Snapshot, TaskRunner

SPAN = 600.0
"""Seconds that are remembered."""
INTERVAL = 10.0
"""Seconds between two snapshots, which is the width of a column in a chart."""
_COLUMNS = round(SPAN / INTERVAL)
_SCALE: list[int] = [digit * 10**power for power in range(12) for digit in (1, 2, 5)][2:]
"""5, 10, 20, 50, ...: round numbers, so that a chart does not change its height all the time."""


class Chart(NamedTuple):
    """A chart of stacked columns, ready for the template."""

    legend: Sequence[tuple[str, int]]
    """The label of each part, the lowest first, and the number beside it."""
    columns: Sequence[Sequence[int]]
    """The sizes of the parts, for each column; the last column is now."""

    @property
    def top(self) -> int:
        """The value at the upper edge."""
        highest = max(sum(column) for column in self.columns)
        return next(value for value in _SCALE if value >= highest)


@asynccontextmanager
async def sampling(app: FastAPI) -> AsyncIterator[None]:
    """Take snapshots for as long as the service runs."""
    app.state.snapshots = deque(maxlen=_COLUMNS)
    task = asyncio.create_task(_sample(app.state.runner, app.state.snapshots))
    try:
        yield
    finally:
        task.cancel()


async def _sample(runner: TaskRunner, snapshots: deque[Snapshot]) -> None:
    while True:
        await asyncio.sleep(INTERVAL)
        with suppress(RunnerClosed):  # the runner starts after the features
            snapshots.append(runner.snapshot(0))


def draw(earlier: Sequence[Snapshot], now: Snapshot) -> tuple[Chart, Chart]:
    """Draw how many due tasks wait, by priority, and how many have ended per ten seconds."""
    snapshots = [*earlier, now]
    if len(earlier) < _COLUMNS:  # the totals were 0 at the start
        snapshots.insert(0, replace(snapshots[0], succeeded=0, failed=0))
    waiting = [_depths(snapshot) for snapshot in snapshots[1:]]
    ended = [_ended(before, after) for before, after in pairwise(snapshots)]
    labels = [priority.name.capitalize() for priority in Priority]
    totals = _ended(snapshots[0], now)
    return (
        Chart(list(zip(labels, waiting[-1], strict=True)), waiting),
        Chart(list(zip(("Succeeded", "Failed"), totals, strict=True)), ended),
    )


def _depths(snapshot: Snapshot) -> list[int]:
    """Return how many due tasks wait by `Priority`; others count as the next more urgent one."""
    depths = dict.fromkeys(Priority, 0)
    for priority, count in snapshot.queue_depth.items():
        band = max(level for level in Priority if level <= priority)
        depths[band] += count - snapshot.delayed.get(priority, 0)
    return list(depths.values())


def _ended(before: Snapshot, after: Snapshot) -> list[int]:
    return [after.succeeded - before.succeeded, after.failed - before.failed]
