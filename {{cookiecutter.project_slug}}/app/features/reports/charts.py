"""The geometry of the charts: templates write it down as SVG.

A chart is `WIDTH` wide and `HEIGHT` high, in units that are pixels where the page is not narrow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .display import moment, readable
from .schemas import ColumnStatistics

WIDTH, HEIGHT = 320, 96
_GAP = 1.0
_OUTLIER_SLOTS = 1.5
"""An outlier bar stands apart from the bins, by half the width of one."""
_LEAST = 2.0
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
    is_outlier: bool = False


@dataclass(frozen=True)
class Chart:
    """A histogram. The axis goes from `first` at `start` to `last` at `end`."""

    bars: list[Bar]
    start: float
    end: float
    first: str
    last: str

    @property
    def highest(self) -> Bar:
        """The longest bar of the bins."""
        return max((bar for bar in self.bars if not bar.is_outlier), key=lambda bar: bar.count)


def draw_histogram(column: ColumnStatistics) -> Chart | None:
    """Lay out the histogram of a column, its outliers at both ends; None if it has none."""
    if column.histogram is None:
        return None
    edges, counts = column.histogram.edges, column.histogram.counts
    outliers = column.outliers
    below, above = (outliers.below, outliers.above) if outliers else (0, 0)
    slots = len(counts) + _OUTLIER_SLOTS * ((below > 0) + (above > 0))
    slot, scale = WIDTH / slots, HEIGHT / max(*counts, below, above, 1)
    start = _OUTLIER_SLOTS * slot if below else 0.0
    labels = _labels(column.type, edges)

    def bar(x: float, label: str, count: int, *, is_outlier: bool = False) -> Bar:
        height = round(max(count * scale, _LEAST), 1) if count else 0.0
        width = round(slot - _GAP, 1)
        return Bar(round(x, 1), HEIGHT - height, width, height, label, count, is_outlier)

    bars = [bar(start + index * slot, labels[index], count) for index, count in enumerate(counts)]
    if outliers and below:
        label = f"below {readable(outliers.low)}"
        bars.insert(0, bar(0, label, below, is_outlier=True))
    if outliers and above:
        label = f"above {readable(outliers.high)}"
        bars.append(bar(WIDTH - slot, label, above, is_outlier=True))
    write = _writer(column.type)
    last = edges[-1] - 1 if column.type == "integer" else edges[-1]  # type: ignore[operator]
    end = round(start + len(counts) * slot, 1)
    return Chart(bars, round(start, 1), end, write(edges[0]), write(last))


def _writer(type_: str) -> Callable[[Any], str]:
    return moment if type_ in {"date", "datetime"} else readable


def _labels(type_: str, edges: list[Any]) -> list[str]:
    """Name the bins: whole numbers from the first to the last, all others from edge to edge."""
    write = _writer(type_)
    ends = [(low, high - 1 if type_ == "integer" else high) for low, high in pairwise(edges)]
    return [write(low) if low == high else f"{write(low)} to {write(high)}" for low, high in ends]
