"""Statistics: correct, and always valid JSON."""

import json
import math
import random
import statistics as stdlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.features.reports.columns import describe, open_database


def describe_columns(names: list[str], lines: list[str]) -> dict[str, Any]:
    path = Path("upload.csv")
    path.write_text("\n".join([",".join(names), *lines]) + "\n", encoding="utf-8")
    with open_database(str(Path.cwd())) as database:
        statistics = describe(database, path, Path.cwd(), lambda *_: None)
    result = statistics.model_dump(mode="json")
    json.dumps(result, allow_nan=False)
    return result


def describe_column(*cells: str) -> dict[str, Any]:
    lines = [f'"{cell}"' for cell in cells]
    column: dict[str, Any] = describe_columns(["x"], lines)["columns"][0]
    return column


@pytest.mark.parametrize(
    ("cells", "type_"),
    [
        (["1", "-2", "+3", "0", " 4 ", ""], "integer"),
        (["9223372036854775807", "-9223372036854775808"], "integer"),
        (["9223372036854775808"], "number"),
        (["1" * 200], "text"),
        (["1", "2.5", ".5", "3.", "-1e3", "1E-40"], "number"),
        (["0", "0.5", "-0.5", "0e1", "nan", "NA"], "number"),
        *((["1", cell], "text") for cell in ("1e400", "inf", "-Infinity", "1_000", "1,000")),
        *((["1", cell], "text") for cell in ("0x10", "٣", "01234", "-007.5", ".", "1e", "1 2")),
        (["true", "FALSE", "True", ""], "boolean"),
        (["true", "1"], "text"),
        (["2026-02-28", "1999-12-31", ""], "date"),
        (["1000-01-01", "9999-12-31"], "date"),
        *(([cell], "text") for cell in ("2026-02-30", "0999-01-01", "2026-2-8")),
        (["2026-02-28T10:00:00", "2026-02-28 10:00:00.123456", "2026-02-28 10:00"], "datetime"),
        *(([f"2026-02-28{time}"], "text") for time in ("T25:00:00", "T10:00:00+02:00", " 1")),
        (["0999-02-28T10:00:00"], "text"),
        (["2026-02-28", "2026-02-28T10:00:00"], "text"),
        (["", " "], "text"),
        ([*map(str, range(5000)), "x"], "text"),
    ],
)
def test_type_of_a_column_follows_its_cells(cells: list[str], type_: str) -> None:
    assert describe_column(*cells)["type"] == type_


NOTHING = dict.fromkeys(["min", "max", "mean", "std", "p25", "p50", "p75", "histogram"])


def test_text_column_has_counts_and_the_most_frequent_values() -> None:
    assert describe_column("b", "a", "b", *"cdefg", "") == {
        "name": "x",
        "type": "text",
        "count": 8,
        "nulls": 1,
        **NOTHING,
        "distinct": 7,
        "top": [{"value": "b", "count": 2}, *({"value": c, "count": 1} for c in "acde")],
    }


def test_long_texts_are_cut_before_they_are_counted() -> None:
    column = describe_column("x" * 199 + "y", "x" * 199 + "zy", "x" * 199 + "zz")

    tops = [{"value": "x" * 199 + "z", "count": 2}, {"value": "x" * 199 + "y", "count": 1}]
    assert column["top"] == tops
    assert column["distinct"] == 2


def test_column_without_values_has_no_statistics() -> None:
    expected = {"name": "x", "type": "text", "count": 0, "nulls": 2, "distinct": 0}

    assert describe_column("", "") == {**expected, **NOTHING, "top": []}


def test_booleans_and_dates_have_the_statistics_that_make_sense() -> None:
    booleans = describe_column("true", "False", "TRUE")
    dates = describe_column("2026-01-31", "2026-01-05", "2026-01-31")
    times = describe_column("2026-01-31 10:00:00", "2026-01-31T09:00:00.5")

    assert booleans["top"] == [{"value": True, "count": 2}, {"value": False, "count": 1}]
    assert (booleans["min"], booleans["mean"]) == (None, None)
    assert (dates["min"], dates["max"], dates["mean"]) == ("2026-01-05", "2026-01-31", None)
    assert dates["top"][0] == {"value": "2026-01-31", "count": 2}
    assert (times["min"], times["max"]) == ("2026-01-31T09:00:00.500000", "2026-01-31T10:00:00")
    assert sum(bin_["count"] for bin_ in times["histogram"]) == 2


def test_numbers_at_the_limits_do_not_overflow() -> None:
    limit = 2**63 - 1
    large = describe_column("1e99", "1e99", "-1e99")
    whole = describe_column(str(limit), str(-limit - 1), str(limit), str(limit))
    single = describe_column("7")

    assert (large["max"], large["std"]) == (1e99, pytest.approx(1e99 * math.sqrt(4 / 3)))
    assert (whole["min"], whole["max"]) == (-limit - 1, limit)
    assert whole["p50"] == pytest.approx(limit)
    assert whole["mean"] == pytest.approx(limit / 2)
    assert (single["std"], single["mean"], single["p25"], single["p75"]) == (None, 7, 7, 7)
    assert describe_column("1000-01-01", "9999-12-31")["histogram"][-1]["high"] == "9999-12-31"


def test_statistics_agree_with_the_standard_library() -> None:
    rng = random.Random(7)  # noqa: S311 - not a secret
    numbers = [round(rng.lognormvariate(0, 2), 1) for _ in range(200)]
    words = [rng.choice(["red", "green", "blue"]) for _ in numbers]
    lines = [f"{number},{word}" for number, word in zip(numbers, words, strict=True)]
    result = describe_columns(["number", "word"], lines)

    number, word = result["columns"]
    assert result["rows"] == 200
    assert number["mean"] == pytest.approx(stdlib.mean(numbers))
    assert number["std"] == pytest.approx(stdlib.stdev(numbers))
    assert result["approximate"] == ["p25", "p50", "p75"]
    for share, quartile in ((0.25, "p25"), (0.5, "p50"), (0.75, "p75")):
        below = sum(value < number[quartile] for value in numbers) / len(numbers)
        above = sum(value > number[quartile] for value in numbers) / len(numbers)
        assert below - 0.01 <= share <= 1 - above + 0.01
    assert (number["min"], number["max"]) == (min(numbers), max(numbers))
    assert number["distinct"] == len(set(numbers))
    assert number["top"][0]["count"] == max(numbers.count(value) for value in numbers)
    assert {top["value"]: top["count"] for top in word["top"]} == {
        color: words.count(color) for color in set(words)
    }


def test_columns_beyond_one_batch_are_described() -> None:
    names = [f"column {number}" for number in range(120)]
    result = describe_columns(names, [",".join(map(str, range(120)))])

    assert [column["name"] for column in result["columns"]] == names
    assert [column["max"] for column in result["columns"]] == list(range(120))


@pytest.mark.parametrize(
    ("values", "bins"),
    [
        ([1, 2, 3, 4], [(0, 1, 1, 1), (1, 2, 2, 1), (2, 3, 3, 1), (3, 4, 4, 1)]),
        ([1, 2, 100], [(0, 1, 2, 2), (11, 100, 100, 1)]),
        ([0.0, 0.25, 1.0], [(0, 0.0, 0.0, 1), (3, 0.25, 0.25, 1), (11, 1.0, 1.0, 1)]),
        ([7, 7, 7], [(0, 7, 7, 3)]),
        ([0.5, 0.5], [(0, 0.5, 0.5, 2)]),
        (
            ["2026-01-01", "2026-01-03"],
            [(0, *["2026-01-01"] * 2, 1), (2, *["2026-01-03"] * 2, 1)],
        ),
    ],
)
def test_histogram_has_the_expected_bins(values: list[Any], bins: list[tuple[Any, ...]]) -> None:
    histogram = describe_column(*map(str, values))["histogram"]
    keys = ("number", "low", "high", "count")

    assert [tuple(bin_[key] for key in keys) for bin_ in histogram] == bins


def test_bins_of_whole_numbers_have_equal_widths() -> None:
    histogram = describe_column(*map(str, range(50, 96)))["histogram"]

    assert [bin_["count"] for bin_ in histogram] == [*[4] * 11, 2]


NUMBERS = st.lists(
    st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20) | st.floats(-1e99, 1e99), min_size=1
)


@given(NUMBERS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_number_is_in_exactly_one_bin(values: list[float]) -> None:
    column = describe_column(*map(repr, values))

    histogram = column["histogram"]
    assert sum(bin_["count"] for bin_ in histogram) == len(values)
    assert (histogram[0]["low"], histogram[-1]["high"]) == (column["min"], column["max"])
    for before, after in pairwise(histogram):
        assert before["low"] <= before["high"] < after["low"]
        assert 0 <= before["number"] < after["number"] < 12
