"""How the values of a column are spread: a histogram, and what lies far from the rest."""

import math
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

_MAX_BINS = 20
_WIDE = 10
"""A bin of so many whole numbers may have one more than others."""
_FENCE = 1.5
"""Quartile ranges from the quartiles to where outliers begin (Tukey)."""
_COUNT = pl.col("count")
_VALUE = pl.col("value").to_physical()
"""A number: a date is its day and a datetime its microsecond, counted from 1970."""


def describe_spread(
    type_: str, count: int, groups: pl.LazyFrame, p25: float | None, p75: float | None
) -> dict[str, Any]:
    """Return what the schemas `Histogram` and `Outliers` describe.

    `groups` holds each of the values, of which there is at least one, with its count.
    """
    outliers = None if p25 is None or p75 is None else _find_outliers(groups, p25, p75)
    inside = groups
    if outliers:
        inside = groups.filter(_VALUE.is_between(outliers["low"], outliers["high"]))
        count -= outliers["below"] + outliers["above"]
    low, high = _collect(inside.select(low=_VALUE.min(), high=_VALUE.max())).row(0)
    cut = _cut_numbers if type_ == "number" else _cut_whole
    edges, index = cut(low, high, _number_of_bins(count))
    return {
        "histogram": {
            "edges": [_MOMENTS.get(type_, _same)(edge) for edge in edges],
            "counts": _count(inside, index, len(edges) - 1),
        },
        "outliers": outliers,
    }


def _find_outliers(groups: pl.LazyFrame, p25: float, p75: float) -> dict[str, Any] | None:
    reach = _FENCE * (p75 - p25)
    low, high = p25 - reach, p75 + reach
    if reach == 0 or not (math.isfinite(low) and math.isfinite(high)):
        return None  # half of the values are the same: then nothing can be said of the others
    below, above = _COUNT.filter(low > _VALUE).sum(), _COUNT.filter(high < _VALUE).sum()
    found = _collect(groups.select(below=below, above=above)).row(0, named=True)
    return {**found, "low": low, "high": high}


def _number_of_bins(count: int) -> int:
    return min(math.ceil(2 * math.cbrt(count)), _MAX_BINS)  # Rice's rule


def _cut_whole(low: int, high: int, bins: int) -> tuple[list[int], pl.Expr]:
    """Cut at whole numbers, into bins of one width or, if they are wide, as good as one."""
    span = high - low + 1
    if span < _WIDE * bins:
        width = -(-span // bins)
        bins = -(-span // width)
        span = bins * width
    edges = [low + index * span // bins for index in range(bins + 1)]
    offset = _VALUE.cast(pl.Int128) - pl.lit(low, pl.Int128)  # 64 bits do not hold the span
    # The last edge that is not above the value: index * span // bins <= offset.
    return edges, ((offset + 1) * bins - 1) // pl.lit(span, pl.Int128)


def _cut_numbers(low: float, high: float, bins: int) -> tuple[list[float], pl.Expr]:
    if low == high:
        return [low, high], pl.lit(0)
    scale = _scale(high - low)
    width = high * scale - low * scale
    edges = [(low * scale + width * (index / bins)) / scale for index in range(bins)]
    share = (_VALUE * scale - low * scale) / width
    return [*edges, high], (share * bins).floor().clip(0, bins - 1)


def _scale(width: float) -> float:
    """Return a power of two by which numbers are multiplied for the cut, which changes no digit."""
    if not math.isfinite(width):
        return 0.5  # the range is wider than any number
    if width < sys.float_info.min:
        return 2.0**64  # polars divides by multiplying with the reciprocal, which is infinite here
    return 1.0


def _count(groups: pl.LazyFrame, index: pl.Expr, bins: int) -> list[int]:
    counted = groups.group_by(index.cast(pl.Int64).alias("bin")).agg(_COUNT.sum())
    counts = dict(_collect(counted).rows())
    return [counts.get(number, 0) for number in range(bins)]


def _collect(frame: pl.LazyFrame) -> pl.DataFrame:
    return frame.collect(engine="streaming")


def _day(number: int) -> str:
    last = (date.max - date(1970, 1, 1)).days
    return (date(1970, 1, 1) + timedelta(days=min(number, last))).isoformat()


def _moment(number: int) -> str:
    start = datetime(1970, 1, 1)  # noqa: DTZ001 - the file says nothing of time zones
    last = (datetime.max - start) // timedelta(microseconds=1)  # noqa: DTZ901
    return (start + timedelta(microseconds=min(number, last))).isoformat()


def _same(number: float) -> float:
    return number


_MOMENTS: Mapping[str, Callable[[Any], Any]] = {"date": _day, "datetime": _moment}
