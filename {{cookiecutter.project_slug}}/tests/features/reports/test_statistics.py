"""Statistics: right, and never something that JSON cannot hold."""

import json
import math
import random
import statistics as stdlib
from pathlib import Path
from typing import Any

import pytest

from app.features.reports import csv_file, statistics
from app.features.reports.csv_file import CsvError, open_csv
from app.features.reports.schemas import ReportStatistics


def describe(content: str) -> dict[str, Any]:
    folder = Path("work")
    folder.mkdir()
    Path("file.csv").write_text(content, encoding="utf-8")
    with open_csv(Path("file.csv"), 1000) as reader:
        result = statistics.describe(reader, folder)
    json.dumps(result, allow_nan=False)
    return ReportStatistics.model_validate(result).model_dump()


def describe_column(*cells: str) -> dict[str, Any]:
    lines = ["x", *(f'"{cell}"' for cell in cells)]
    column: dict[str, Any] = describe("\n".join(lines))["columns"][0]
    return column


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let a few rows be treated as millions are: many batches, many files, none in memory."""
    if request.param == "large":
        monkeypatch.setattr(csv_file, "_CELLS_PER_BATCH", 20)
        monkeypatch.setattr(statistics, "_BYTES_PER_FILE", 500)
        monkeypatch.setattr(statistics, "_CELLS_IN_MEMORY", 5)
    return str(request.param)


@pytest.mark.parametrize(
    ("cells", "type_"),
    [
        (["1", "-2", "+3", "0", " 4 ", ""], "integer"),
        (["9223372036854775807", "-9223372036854775808"], "integer"),
        (["9223372036854775808"], "number"),
        (["1" * 300], "number"),
        (["1" * 400], "text"),
        (["1", "2.5", ".5", "3.", "-1e3", "1E-400"], "number"),
        (["1", "1e400"], "text"),
        (["1", "nan"], "text"),
        (["NaN"], "text"),
        (["1", "inf"], "text"),
        (["-Infinity"], "text"),
        (["1", "1_000"], "text"),
        (["1", "1,000"], "text"),
        (["1", "0x10"], "text"),
        (["1", "٣"], "text"),
        (["1", "01234"], "text"),
        (["0", "0.5", "-0.5", "0e1"], "number"),
        (["-007.5"], "text"),
        (["true", "FALSE", "True", ""], "boolean"),
        (["true", "1"], "text"),
        (["2026-02-28", "1999-12-31", ""], "date"),
        (["2026-02-30"], "text"),
        (["0001-01-01", "9999-12-31"], "date"),
        (["0000-01-01"], "text"),
        (["2026-2-8"], "text"),
        (["2026-02-28T10:00:00", "2026-02-28 10:00:00.123456"], "datetime"),
        (["2026-02-28T25:00:00"], "text"),
        (["0000-02-28T10:00:00"], "text"),
        (["2026-02-28T10:00:00+02:00"], "text"),
        (["2026-02-28", "2026-02-28T10:00:00"], "text"),
        (["", " ", "\t"], "text"),
        (["^.*$", "=1+1"], "text"),
    ],
)
def test_types(cells: list[str], type_: str) -> None:
    assert describe_column(*cells)["type"] == type_


def test_numbers() -> None:
    assert describe_column("1", "2", "", "2", "5") == {
        "name": "x",
        "type": "integer",
        "count": 4,
        "nulls": 1,
        "min": 1,
        "max": 5,
        "mean": 2.5,
        "std": pytest.approx(math.sqrt(3)),
        "p25": 1.75,
        "p50": 2.0,
        "p75": 2.75,
        "distinct": 3,
        "top": [
            {"value": 2, "count": 2},
            {"value": 1, "count": 1},
            {"value": 5, "count": 1},
        ],
        "histogram": {"edges": [1, 2, 3], "counts": [1, 2]},
        "outliers": {"low": 0.25, "high": 4.25, "below": 0, "above": 1},
    }


NOTHING = dict.fromkeys(["min", "max", "mean", "std", "p25", "p50", "p75", "histogram", "outliers"])


def test_texts() -> None:
    column = describe_column("b", "a", "b", *"cdefg", "")

    assert column == {
        "name": "x",
        "type": "text",
        "count": 8,
        "nulls": 1,
        **NOTHING,
        "distinct": 7,
        "top": [{"value": "b", "count": 2}, *({"value": c, "count": 1} for c in "acde")],
    }


def test_a_column_without_values() -> None:
    column = describe_column("", "")

    expected = {"name": "x", "type": "text", "count": 0, "nulls": 2, "distinct": 0}
    assert column == {**expected, **NOTHING, "top": []}


def test_booleans() -> None:
    column = describe_column("true", "False", "TRUE")

    assert column["top"] == [{"value": True, "count": 2}, {"value": False, "count": 1}]
    assert column["top"][0]["value"] is True
    assert (column["min"], column["mean"]) == (None, None)


def test_dates() -> None:
    column = describe_column("2026-01-31", "2026-01-05", "2026-01-31")

    assert (column["min"], column["max"], column["mean"]) == ("2026-01-05", "2026-01-31", None)
    assert column["top"][0] == {"value": "2026-01-31", "count": 2}


def test_datetimes() -> None:
    column = describe_column("2026-01-31 10:00:00", "2026-01-31T09:00:00.5")

    assert (column["min"], column["max"]) == ("2026-01-31T09:00:00.500000", "2026-01-31T10:00:00")


def test_one_value_has_no_deviation() -> None:
    column = describe_column("7")

    assert (column["std"], column["mean"], column["p25"], column["p75"]) == (None, 7, 7, 7)


def test_numbers_at_the_limits() -> None:
    column = describe_column("1.7e308", "1.7e308", "-1.7e308")

    assert (column["min"], column["max"]) == (-1.7e308, 1.7e308)
    assert column["std"] is None  # more than a float can hold


def test_integers_at_the_limits() -> None:
    limit = 2**63 - 1
    column = describe_column(str(limit), str(-limit), str(limit), str(limit))

    assert (column["min"], column["max"]) == (-limit, limit)
    assert column["p50"] == pytest.approx(limit)
    assert column["mean"] == pytest.approx(limit / 2)


def test_a_long_text_is_cut_off() -> None:
    (top,) = describe_column("x" * 5000)["top"]

    assert top == {"value": "x" * 99 + "…", "count": 1}


def test_names_mean_nothing_to_polars() -> None:
    names = ["^.*$", "*", "1", "0", "value", "count", '""', "<b>"]
    result = describe(
        ",".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in names)
        + "\n"
        + "7," * 7
        + "7"
    )

    assert [column["name"] for column in result["columns"]] == names
    assert {column["mean"] for column in result["columns"]} == {7}


@pytest.mark.usefixtures("size")
def test_against_the_standard_library() -> None:
    rng = random.Random(7)  # noqa: S311
    numbers = [round(rng.lognormvariate(0, 2), 1) for _ in range(200)]
    words = [rng.choice(["red", "green", "blue"]) for _ in numbers]
    lines = [f"{number},{word}" for number, word in zip(numbers, words, strict=True)]
    result = describe("\n".join(["number,word", *lines]))

    number, word = result["columns"]
    assert result["rows"] == 200
    assert number["mean"] == pytest.approx(stdlib.mean(numbers))
    assert number["std"] == pytest.approx(stdlib.stdev(numbers))
    quartiles = stdlib.quantiles(numbers, n=4, method="inclusive")
    assert [number["p25"], number["p50"], number["p75"]] == pytest.approx(quartiles)
    assert (number["min"], number["max"]) == (min(numbers), max(numbers))
    assert number["distinct"] == len(set(numbers))
    assert number["top"][0]["count"] == max(numbers.count(value) for value in numbers)
    assert {top["value"]: top["count"] for top in word["top"]} == {
        color: words.count(color) for color in set(words)
    }


@pytest.mark.usefixtures("size")
def test_a_type_has_to_fit_to_the_last_row() -> None:
    cells = [*map(str, range(100)), "x"]

    assert describe_column(*cells)["type"] == "text"


def test_a_bad_row_after_good_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_CELLS_PER_BATCH", 2)

    with pytest.raises(CsvError, match="row 5"):
        describe("a,b\n1,2\n3,4\n5,6\n7\n")
