"""Histograms and outliers: every value is counted once, whatever the values are."""

from collections import Counter
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import quantiles
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.features.reports.analysis import WORKER_ENVIRONMENT
from app.features.reports.spread import describe_spread

MAX = 1.7976931348623157e308


def spread(
    type_: str, values: list[Any], p25: float | None = None, p75: float | None = None
) -> dict[str, Any]:
    counts = sorted(Counter(values).items())
    groups = pl.DataFrame(
        {"value": [value for value, _ in counts], "count": [count for _, count in counts]},
        schema_overrides={"value": pl.Datetime("us")} if type_ == "datetime" else None,
    )
    return describe_spread(type_, len(values), groups.lazy(), p25, p75)


def histogram(type_: str, values: list[Any]) -> tuple[list[Any], list[int]]:
    found = spread(type_, values)["histogram"]
    return found["edges"], found["counts"]


def test_polars_has_as_many_threads_as_in_the_worker() -> None:
    # How it divides depends on how many values a thread gets.
    assert str(pl.thread_pool_size()) == WORKER_ENVIRONMENT["POLARS_MAX_THREADS"]


def test_few_whole_numbers_have_a_bin_each() -> None:
    assert histogram("integer", [1, 1, 2, 4]) == ([1, 2, 3, 4, 5], [2, 1, 0, 1])


def test_many_whole_numbers_share_bins_of_one_width() -> None:
    edges, counts = histogram("integer", list(range(50)))

    assert [after - before for before, after in pairwise(edges)] == [7] * 8
    assert counts == [7] * 7 + [1]


def test_wide_bins_differ_by_one_at_most() -> None:
    edges, counts = histogram("integer", list(range(1003)))

    assert counts == [after - before for before, after in pairwise(edges)]
    assert set(counts) == {50, 51}
    assert (edges[0], edges[-1]) == (0, 1003)


def test_numbers() -> None:
    assert histogram("number", [0.0, 0.1, 0.5, 1.0]) == ([0.0, 0.25, 0.5, 0.75, 1.0], [2, 0, 1, 1])


@pytest.mark.parametrize(
    ("type_", "value", "edges"),
    [
        ("integer", 7, [7, 8]),
        ("number", 2.5, [2.5, 2.5]),
        ("number", -MAX, [-MAX, -MAX]),
        ("date", date(9999, 12, 31), ["9999-12-31", "9999-12-31"]),
        ("date", date(2026, 1, 1), ["2026-01-01", "2026-01-02"]),
        ("datetime", datetime.max, ["9999-12-31T23:59:59.999999"] * 2),  # noqa: DTZ901
    ],
)
def test_one_value(type_: str, value: Any, edges: list[Any]) -> None:
    assert histogram(type_, [value, value]) == (edges, [2])


@pytest.mark.parametrize(
    ("type_", "low", "high"),
    [
        ("integer", -(2**63), 2**63 - 1),
        ("integer", 2**62, 2**62 + 3),
        ("number", -MAX, MAX),
        ("number", 0.0, 5e-324),
        ("date", date.min, date.max),
        ("datetime", datetime.min, datetime.max),  # noqa: DTZ901
    ],
)
def test_the_ends_of_what_a_type_holds(type_: str, low: Any, high: Any) -> None:
    edges, counts = histogram(type_, [low, high, high])

    assert len(edges) == len(counts) + 1
    assert edges == sorted(edges)
    assert (counts[0], counts[-1], sum(counts)) == (1, 2, 3)


def test_dates_are_cut_at_days() -> None:
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(1000)]
    edges, counts = histogram("date", days)

    assert edges[:2] == ["2026-01-01", "2026-02-20"]
    assert counts == [50] * 20


def test_outliers_are_not_in_the_histogram() -> None:
    found = spread("integer", [-100, 1, 2, 3, 4, 1_000_000, 2_000_000], 1.0, 4.0)

    assert found["outliers"] == {"low": -3.5, "high": 8.5, "below": 1, "above": 2}
    assert found["histogram"] == {"edges": [1, 2, 3, 4, 5], "counts": [1, 1, 1, 1]}


@pytest.mark.parametrize(("p25", "p75"), [(5.0, 5.0), (None, 5.0), (-MAX, MAX)])
def test_no_fences_no_outliers(p25: float | None, p75: float | None) -> None:
    found = spread("number", [-1e300, 5.0, 5.0, 5.0, 1e300], p25, p75)

    assert found["outliers"] is None
    assert sum(found["histogram"]["counts"]) == 5


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60))
def test_any_numbers(values: list[float]) -> None:
    edges, counts = histogram("number", values)

    assert sum(counts) == len(values)
    assert len(edges) == len(counts) + 1
    assert (edges[0], edges[-1]) == (min(values), max(values))
    assert all(edge - edge == 0 for edge in edges)


NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-20, 20))


@given(st.lists(NUMBERS, min_size=2, max_size=60))
def test_every_value_is_in_a_bin_or_an_outlier(values: list[int]) -> None:
    p25, _, p75 = quantiles(values, n=4, method="inclusive")
    found = spread("integer", values, float(p25), float(p75))

    far = found["outliers"] or {"below": 0, "above": 0}
    assert sum(found["histogram"]["counts"]) + far["below"] + far["above"] == len(values)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60))
def test_any_whole_numbers(values: list[int]) -> None:
    edges, counts = histogram("integer", values)

    bins = pairwise(edges)
    assert counts == [sum(low <= value < high for value in values) for low, high in bins]
    assert sum(counts) == len(values)
