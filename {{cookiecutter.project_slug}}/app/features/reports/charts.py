"""The geometry of the charts: templates write it down as SVG.

A chart is `WIDTH` wide and `HEIGHT` high, in units that are pixels where the page is not narrow.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from .display import moment, readable
from .schemas import ColumnStatistics, Outliers

WIDTH, HEIGHT = 320, 96
_GAP = 1.0
_OUTLIER_SLOTS = 1.5
"""An outlier bar stands apart from the bins, by half the width of one."""
_WIDEST = 64.0
"""A column with one value is no wall."""
_LEAST = 2.0
"""A bar of one among millions can still be seen."""
_NO_OUTLIERS = Outliers(low=0, high=0, below=0, above=0)


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
    counts, far = column.histogram.counts, column.outliers or _NO_OUTLIERS
    slots = len(counts) + _OUTLIER_SLOTS * ((far.below > 0) + (far.above > 0))
    slot = min(WIDTH / slots, _WIDEST)
    scale = HEIGHT / max(*counts, far.below, far.above, 1)
    start = _OUTLIER_SLOTS * slot if far.below else 0.0
    end = start + len(counts) * slot
    ranges = _ranges(column, column.histogram.edges)
    bars = [
        _bar(start + index * slot, slot, count, scale, low if low == high else f"{low} to {high}")
        for index, ((low, high), count) in enumerate(zip(ranges, counts, strict=True))
    ]
    if far.below:
        bar = _bar(0, slot, far.below, scale, f"below {readable(far.low)}")
        bars.insert(0, replace(bar, is_outlier=True))
    if far.above:
        x = end + (_OUTLIER_SLOTS - 1) * slot
        bar = _bar(x, slot, far.above, scale, f"above {readable(far.high)}")
        bars.append(replace(bar, is_outlier=True))
    return Chart(bars, round(start, 1), round(end, 1), ranges[0][0], ranges[-1][1])


def _bar(x: float, slot: float, count: int, scale: float, label: str) -> Bar:
    height = round(max(count * scale, _LEAST), 1) if count else 0.0
    y, width = round(HEIGHT - height, 1), round(slot - _GAP, 1)
    return Bar(round(x, 1), y, width, height, label, count)


def writer(type_: str) -> Callable[[Any], str]:
    """Return what writes the values of a type."""
    return moment if type_ in {"date", "datetime"} else readable


def _ranges(column: ColumnStatistics, edges: list[Any]) -> list[tuple[str, str]]:
    """Write down where each bin begins and ends; an end that is no value is not shown."""
    ends = [_before(edge, column.type) for edge in edges[1:]]
    if column.outliers is None:
        ends[-1] = column.max
    write = writer(column.type)
    return [(write(low), write(high)) for low, high in zip(edges, ends, strict=False)]


def _before(edge: Any, type_: str) -> Any:
    if type_ == "integer":
        return edge - 1
    return date.fromisoformat(edge) - timedelta(days=1) if type_ == "date" else edge
