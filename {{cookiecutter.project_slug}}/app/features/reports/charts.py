"""The geometry of the histograms, which templates write down as SVG."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from .display import readable, time_or_day
from .schemas import ColumnStatistics

WIDTH, HEIGHT = 320, 96
_WIDEST = 64.0
"""A column with one value is no wall."""
_LEAST = 1.0
"""A bar of one among millions can still be seen."""


@dataclass(frozen=True)
class Bar:
    """One bar: where it stands, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    label: str
    count: int
    is_outlier: bool


@dataclass(frozen=True)
class Chart:
    """A histogram. The axis goes from `first` at `start` to `last` at `end`."""

    bars: list[Bar]
    highest: Bar
    start: float
    end: float
    first: str
    last: str


def draw_histogram(column: ColumnStatistics) -> Chart | None:
    """Lay out the histogram of a column, its outliers apart at both ends; None if it has none."""
    histogram, write = column.histogram, writer(column.type)
    if histogram is None:
        return None
    first, last = write(histogram.edges[0]), write(histogram.edges[-1])
    labels = zip(_labels(histogram.edges, column.type), histogram.counts, strict=True)
    slots: list[tuple[str, int, bool] | None] = [(label, count, False) for label, count in labels]
    if histogram.below:
        slots = [(f"below {first}", histogram.below, True), None, *slots]
    if histogram.above:
        slots += [None, (f"above {last}", histogram.above, True)]
    bars = _bars(slots)
    bins = [bar for bar in bars if not bar.is_outlier]
    highest = max(bins, key=lambda bar: bar.count)
    end = round(bins[-1].x + bins[-1].width, 1)
    return Chart(bars, highest, bins[0].x, end, first, last)


def _bars(slots: list[tuple[str, int, bool] | None]) -> list[Bar]:
    width = min(WIDTH / len(slots), _WIDEST)
    scale = HEIGHT / max(1, *(slot[1] for slot in slots if slot))
    bars = []
    for number, (label, count, is_outlier) in ((n, s) for n, s in enumerate(slots) if s):
        height = round(max(count * scale, _LEAST), 1) if count else 0.0
        x, y = round(number * width, 1), round(HEIGHT - height, 1)
        bars.append(Bar(x, y, round(width - 1, 1), height, label, count, is_outlier))
    return bars


def writer(type_: str) -> Callable[[Any], str]:
    """Return what writes the values of a type."""
    return time_or_day if type_ in {"date", "datetime"} else readable


def _labels(edges: list[Any], type_: str) -> list[str]:
    """Say what each bin holds; only the last one has the edge at its end."""
    write = writer(type_)
    ends = [*(_before(edge, type_) for edge in edges[1:-1]), edges[-1]]
    labels = [(write(low), write(high)) for low, high in zip(edges, ends, strict=False)]
    return [low if low == high else f"{low} to {high}" for low, high in labels]


def _before(edge: Any, type_: str) -> Any:
    if type_ == "integer":
        return edge - 1
    return date.fromisoformat(edge) - timedelta(days=1) if type_ == "date" else edge
