"""The charts: coordinates of SVG paths, for a picture of WIDTH x HEIGHT that is stretched to fit.

Colours and lines are a matter of the style sheet: each path has a class.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.tasks import Priority

from .samples import INTERVAL, SPAN, Sample

WIDTH, HEIGHT = 600, 120
_STEP = 2 * INTERVAL
"""Seconds between two points."""
_BAR = 10.0
"""Seconds."""


@dataclass(frozen=True)
class Series:
    """One kind of thing in a chart."""

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
    points = list(_points(samples, now))
    highest = max((sum(depths) for _, depths in points), default=0)
    top = _round_up(highest)
    base = [0] * len(points)
    series = []
    for band, priority in enumerate(Priority):
        upper = [low + depths[band] for low, (_, depths) in zip(base, points, strict=True)]
        latest = points[-1][1][band] if points else 0
        path = _area(points, base, upper, top) if upper != base else ""
        series.append(Series(_band_label(band), priority.name.lower(), path, f"{latest:,}"))
        base = upper
    waiting = base[-1] if base else 0
    summary = f"Waiting tasks in the last 10 minutes: now {waiting:,}, at most {highest:,}."
    return Chart(series, f"{top:,}", summary)


def ended_chart(samples: Sequence[Sample], now: float) -> Chart:
    """Draw how many tasks have ended, in bars of ten seconds: failures upon successes."""
    bars = [[0, 0] for _ in range(int(SPAN / _BAR))]
    for before, after in pairwise(samples):
        bar = bars[min(int((after.moment - now + SPAN) / _BAR), len(bars) - 1)]
        bar[0] += after.succeeded - before.succeeded
        bar[1] += after.failed - before.failed
    top = _round_up(max(sum(bar) for bar in bars))
    succeeded, failed = (sum(bar[kind] for bar in bars) for kind in (0, 1))
    series = [
        Series("Succeeded", "succeeded", _bars(((0, ok) for ok, _ in bars), top), f"{succeeded:,}"),
        Series("Failed", "failed", _bars(((ok, bad) for ok, bad in bars), top), f"{failed:,}"),
    ]
    summary = f"Ended in the last 10 minutes: {succeeded:,} succeeded, {failed:,} failed."
    return Chart(series, f"{top:,}", summary)


def _points(samples: Sequence[Sample], now: float) -> Iterable[tuple[int, list[int]]]:
    """Yield x and the depths by band: of the samples in a step, the one with the longest queue."""
    steps: dict[int, Sample] = {}
    for sample in samples:
        step = int((sample.moment - now + SPAN) / _STEP)
        other = steps.get(step)
        if other is None or sum(sample.queue_depth.values()) >= sum(other.queue_depth.values()):
            steps[step] = sample
    for step, sample in steps.items():
        yield round(step * _STEP / SPAN * WIDTH), _by_band(sample)


def _by_band(sample: Sample) -> list[int]:
    starts = list(Priority)
    depths = [0] * len(starts)
    for priority, count in sample.queue_depth.items():
        depths[sum(start <= priority for start in starts) - 1] += count
    return depths


def _band_label(band: int) -> str:
    """Return the name of a band and the priorities in it: "High 3-4"."""
    starts = [*Priority, max(Priority) + 1]
    first, last = int(starts[band]), starts[band + 1] - 1
    name = Priority(first).name.capitalize()
    return f"{name} {first}" if first == last else f"{name} {first}\N{EN DASH}{last}"


def _area(
    points: Sequence[tuple[int, list[int]]], lower: list[int], upper: list[int], top: int
) -> str:
    xs = [x for x, _ in points]
    there = [f"{x},{_y(value, top)}" for x, value in zip(xs, upper, strict=True)]
    back = [f"{x},{_y(value, top)}" for x, value in zip(xs, lower, strict=True)]
    return f"M{' '.join(there)} {' '.join(reversed(back))}z"


def _bars(bars: Iterable[tuple[int, int]], top: int) -> str:
    width = WIDTH * _BAR / SPAN
    return "".join(
        f"M{round(index * width)},{_y(start, top)}V{_y(start + length, top)}h{width - 2:g}"
        f"V{_y(start, top)}z"
        for index, (start, length) in enumerate(bars)
        if length > 0
    )


def _y(value: int, top: int) -> int:
    return round(HEIGHT - value * HEIGHT / top)


def _round_up(value: int) -> int:
    """Return the next of 5, 10, 20, 50, 100, ...: a scale that does not change all the time."""
    top = 5
    while top < value:
        top = top * 5 // 2 if str(top).startswith("2") else top * 2
    return top
