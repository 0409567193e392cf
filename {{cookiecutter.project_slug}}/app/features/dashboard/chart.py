"""The charts: coordinates of SVG paths, for a picture of WIDTH x HEIGHT that is stretched to fit.

Colours and lines are a matter of the style sheet: each path has a class.
"""

from bisect import bisect
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from app.tasks import Priority, Snapshot

from .activity import INTERVAL, SPAN

WIDTH, HEIGHT = 600, 120
_STEP = round(WIDTH * INTERVAL / SPAN)
"""From one snapshot to the next."""
_TEN_SECONDS = round(10 / INTERVAL)
"""Snapshots in ten seconds."""


class Chart(NamedTuple):
    """A chart of bands that lie upon each other, ready for the template."""

    bands: Sequence[tuple[str, int, str]]
    """Label, number beside it in the legend, and path, the lowest band first."""
    top: int
    """The value at the upper edge."""
    summary: str
    """What those who do not see it are told."""


def queue_chart(snapshots: Sequence[Snapshot]) -> Chart:
    """Draw how many due tasks wait, by priority, the most urgent lowest."""
    columns = [_depths(snapshot) for snapshot in snapshots] or [[0] * len(Priority)]
    now, highest = sum(columns[-1]), max(map(sum, columns))
    summary = f"Waiting tasks in the last 10 minutes: now {now:,}, at most {highest:,}."
    labels = [priority.name.capitalize() for priority in Priority]
    return _chart(columns, zip(labels, columns[-1], strict=True), summary)


def ended_chart(snapshots: Sequence[Snapshot]) -> Chart:
    """Draw how many tasks have ended in the ten seconds before: failures upon successes."""
    pairs = zip(snapshots, snapshots[_TEN_SECONDS:], strict=False)
    columns = [_ended(before, after) for before, after in pairs] or [[0, 0]]
    succeeded, failed = _ended(snapshots[0], snapshots[-1]) if snapshots else (0, 0)
    summary = f"Ended in the last 10 minutes: {succeeded:,} succeeded, {failed:,} failed."
    return _chart(columns, [("Succeeded", succeeded), ("Failed", failed)], summary)


def _depths(snapshot: Snapshot) -> list[int]:
    """Return how many wait by `Priority`; what lies between two of them counts as the first."""
    depths = [0] * len(Priority)
    for priority, count in snapshot.queue_depth.items():
        due = count - snapshot.delayed.get(priority, 0)
        depths[bisect(list(Priority), priority) - 1] += due
    return depths


def _ended(before: Snapshot, after: Snapshot) -> list[int]:
    return [after.succeeded - before.succeeded, after.failed - before.failed]


def _chart(
    columns: Sequence[Sequence[int]], legend: Iterable[tuple[str, int]], summary: str
) -> Chart:
    """Put the values of each column upon each other; the last column is at the right edge."""
    top = _round_up(max(map(sum, columns)))
    scaled = [
        [round(HEIGHT - value * HEIGHT / top) for value in accumulate(column, initial=0)]
        for column in columns
    ]
    edges = pairwise(zip(*scaled, strict=True))
    bands = [(*entry, _area(*pair)) for entry, pair in zip(legend, edges, strict=True)]
    return Chart(bands, top, summary)


def _area(lower: Sequence[int], upper: Sequence[int]) -> str:
    if upper == lower:
        return ""
    xs = range(WIDTH - _STEP * (len(lower) - 1), WIDTH + 1, _STEP)
    there = [f"{x},{y}" for x, y in zip(xs, upper, strict=True)]
    back = [f"{x},{y}" for x, y in zip(xs, lower, strict=True)]
    return f"M{' '.join(there)} {' '.join(reversed(back))}z"


def _round_up(value: int) -> int:
    """Return the next of 5, 10, 20, 50, 100, ...: a scale that does not change all the time."""
    top = 5
    while top < value:
        top = top * 5 // 2 if str(top).startswith("2") else top * 2
    return top
