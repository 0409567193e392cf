"""The charts: coordinates of SVG paths, for a picture of WIDTH x HEIGHT that is stretched to fit.

Colours and lines are a matter of the style sheet: each path has a class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from app.tasks import Priority

from .samples import INTERVAL, SPAN, Sample

WIDTH, HEIGHT = 600, 120
_STEP = 2 * INTERVAL
"""Seconds between two points."""
_BAR = 10.0
"""Seconds."""
_BANDS = tuple(Priority)

Column = list[int]
"""What lies upon each other at one point of the time axis, the lowest first."""


class Series(NamedTuple):
    """One band of a chart."""

    label: str
    css: str
    path: str
    amount: str
    """What the legend says beside the label."""


@dataclass(frozen=True)
class Chart:
    """A chart, ready for the template."""

    series: Sequence[Series]
    top: str
    """The value at the upper edge."""
    summary: str
    """What those who do not see it are told."""


def queue_chart(samples: Sequence[Sample], now: float) -> Chart:
    """Draw how many tasks wait, by priority, one band upon another: the most urgent lowest."""
    columns = _depths(samples, now) or {WIDTH: [0] * len(_BANDS)}
    highest = max(sum(column) for column in columns.values())
    top = _round_up(highest)
    edges = _edges(list(columns.values()), top)
    *_, latest = columns.values()
    series = [
        Series(_label(band), priority.name.lower(), _area(list(columns), *edge), f"{depth:,}")
        for band, (priority, edge, depth) in enumerate(
            zip(_BANDS, pairwise(edges), latest, strict=True)
        )
    ]
    summary = f"Waiting tasks in the last 10 minutes: now {sum(latest):,}, at most {highest:,}."
    return Chart(series, f"{top:,}", summary)


def ended_chart(samples: Sequence[Sample], now: float) -> Chart:
    """Draw how many tasks have ended, in bars of ten seconds: failures upon successes."""
    columns = [[0, 0] for _ in range(int(SPAN / _BAR))]
    for before, after in pairwise(samples):
        column = columns[min(int((after.time - now + SPAN) / _BAR), len(columns) - 1)]
        column[0] += after.snapshot.succeeded - before.snapshot.succeeded
        column[1] += after.snapshot.failed - before.snapshot.failed
    top = _round_up(max(map(sum, columns)))
    bottom, middle, upper = _edges(columns, top)
    succeeded, failed = map(sum, zip(*columns, strict=True))
    series = [
        Series("Succeeded", "succeeded", _bars(bottom, middle), f"{succeeded:,}"),
        Series("Failed", "failed", _bars(middle, upper), f"{failed:,}"),
    ]
    summary = f"Ended in the last 10 minutes: {succeeded:,} succeeded, {failed:,} failed."
    return Chart(series, f"{top:,}", summary)


def _depths(samples: Sequence[Sample], now: float) -> dict[int, Column]:
    """Return the longest queue of each step, by band, and where on the time axis it is."""
    longest: dict[int, Column] = {}
    for sample in samples:
        x = round(int((sample.time - now + SPAN) / _STEP) * _STEP / SPAN * WIDTH)
        depths = [0] * len(_BANDS)
        for priority, count in sample.snapshot.queue_depth.items():
            depths[sum(first <= priority for first in _BANDS) - 1] += count
        if x not in longest or sum(depths) >= sum(longest[x]):
            longest[x] = depths
    return longest


def _label(band: int) -> str:
    """Return the name of a band and the priorities in it: "High 3-4"."""
    first, last = int(_BANDS[band]), int([*_BANDS, max(_BANDS) + 1][band + 1]) - 1
    name = Priority(first).name.capitalize()
    return f"{name} {first}" if first == last else f"{name} {first}\N{EN DASH}{last}"


def _edges(columns: Sequence[Column], top: int) -> list[tuple[int, ...]]:
    """Return the y of the lowest edge in every column, of the next, and so on to the highest."""
    scaled = [
        [round(HEIGHT - value * HEIGHT / top) for value in accumulate(column, initial=0)]
        for column in columns
    ]
    return list(zip(*scaled, strict=True))


def _area(xs: Sequence[int], lower: Sequence[int], upper: Sequence[int]) -> str:
    if upper == lower:
        return ""
    there = [f"{x},{y}" for x, y in zip(xs, upper, strict=True)]
    back = [f"{x},{y}" for x, y in zip(xs, lower, strict=True)]
    return f"M{' '.join(there)} {' '.join(reversed(back))}z"


def _bars(lower: Sequence[int], upper: Sequence[int]) -> str:
    width = WIDTH * _BAR / SPAN
    return "".join(
        f"M{round(index * width)},{low}V{high}h{width - 2:g}V{low}z"
        for index, (low, high) in enumerate(zip(lower, upper, strict=True))
        if high < low
    )


def _round_up(value: int) -> int:
    """Return the next of 5, 10, 20, 50, 100, ...: a scale that does not change all the time."""
    top = 5
    while top < value:
        top = top * 5 // 2 if str(top).startswith("2") else top * 2
    return top
