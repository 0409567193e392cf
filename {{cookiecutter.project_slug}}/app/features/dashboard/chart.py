"""The charts: coordinates of SVG paths, for a picture of WIDTH x HEIGHT that is stretched to fit.

Colours and lines are a matter of the style sheet: each path has a class.
"""

from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise, starmap
from typing import NamedTuple

from app.tasks import Priority, Snapshot

from .recorder import INTERVAL, SPAN

WIDTH, HEIGHT = 600, 120
_STEP = round(WIDTH * INTERVAL / SPAN)
"""From one snapshot to the next."""
_BAR = 5
"""Snapshots, which are ten seconds."""

Edge = tuple[int, ...]
"""The y of one edge of a band, from left to right; that of the last snapshot is at WIDTH."""


class Series(NamedTuple):
    """One band of a chart."""

    label: str
    path: str
    amount: str
    """What the legend says beside the label."""


class Chart(NamedTuple):
    """A chart, ready for the template."""

    series: Sequence[Series]
    top: str
    """The value at the upper edge."""
    summary: str
    """What those who do not see it are told."""


def queue_chart(snapshots: Sequence[Snapshot]) -> Chart:
    """Draw how many tasks wait, by priority, one band upon another: the most urgent lowest."""
    columns = [_depths(snapshot.queue_depth) for snapshot in snapshots] or [[0] * len(Priority)]
    now, highest = sum(columns[-1]), max(map(sum, columns))
    summary = f"Waiting tasks in the last 10 minutes: now {now:,}, at most {highest:,}."
    labels = [priority.name.capitalize() for priority in Priority]
    return _chart(columns, _area, zip(labels, columns[-1], strict=True), summary)


def ended_chart(snapshots: Sequence[Snapshot]) -> Chart:
    """Draw how many tasks have ended, in bars of ten seconds: failures upon successes."""
    latest_first = [*snapshots[:0:-_BAR], *snapshots[:1]]
    columns = [
        [after.succeeded - before.succeeded, after.failed - before.failed]
        for before, after in pairwise(reversed(latest_first))
    ] or [[0, 0]]
    succeeded, failed = map(sum, zip(*columns, strict=True))
    summary = f"Ended in the last 10 minutes: {succeeded:,} succeeded, {failed:,} failed."
    return _chart(columns, _bars, [("Succeeded", succeeded), ("Failed", failed)], summary)


def _depths(queue_depth: Mapping[int, int]) -> list[int]:
    """Return how many wait by `Priority`; what lies between two of them counts as the first."""
    depths = [0] * len(Priority)
    for priority, count in queue_depth.items():
        depths[bisect(list(Priority), priority) - 1] += count
    return depths


def _chart(
    columns: Sequence[Sequence[int]],
    draw: Callable[[Edge, Edge], str],
    legend: Iterable[tuple[str, int]],
    summary: str,
) -> Chart:
    """Put the values of each column upon each other, the first lowest."""
    top = _round_up(max(map(sum, columns)))
    scaled = [
        [round(HEIGHT - value * HEIGHT / top) for value in accumulate(column, initial=0)]
        for column in columns
    ]
    paths = starmap(draw, pairwise(zip(*scaled, strict=True)))
    series = [
        Series(label, path, f"{amount:,}")
        for (label, amount), path in zip(legend, paths, strict=True)
    ]
    return Chart(series, f"{top:,}", summary)


def _area(lower: Edge, upper: Edge) -> str:
    if upper == lower:
        return ""
    xs = range(WIDTH - _STEP * (len(lower) - 1), WIDTH + 1, _STEP)
    there = [f"{x},{y}" for x, y in zip(xs, upper, strict=True)]
    back = [f"{x},{y}" for x, y in zip(xs, lower, strict=True)]
    return f"M{' '.join(there)} {' '.join(reversed(back))}z"


def _bars(lower: Edge, upper: Edge) -> str:
    width = _STEP * _BAR
    xs = range(WIDTH - width * len(lower), WIDTH, width)
    return "".join(
        f"M{x},{low}V{high}h{width - 2}V{low}z"
        for x, low, high in zip(xs, lower, upper, strict=True)
        if high < low
    )


def _round_up(value: int) -> int:
    """Return the next of 5, 10, 20, 50, 100, ...: a scale that does not change all the time."""
    top = 5
    while top < value:
        top = top * 5 // 2 if str(top).startswith("2") else top * 2
    return top
