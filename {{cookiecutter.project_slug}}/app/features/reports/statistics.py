"""Statistics of a CSV file by DuckDB: exact, and in bounded memory whatever the file holds.

The values of a column are grouped and counted, on the disk if they are many. All else follows
from the groups.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import pairwise
from math import cbrt, ceil, floor
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from .csv_file import load, prepare
from .schemas import ColumnStatistics, ColumnType, Histogram, ReportStatistics, TopValue

_WHOLE = "[+-]?(0|[1-9][0-9]*)"
_DECIMAL = f"({_WHOLE}([.][0-9]*)?|[+-]?[.][0-9]+)([eE][+-]?[0-9]+)?"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = "[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"
_TYPES: dict[ColumnType, tuple[str, str, str]] = {
    "boolean": ("BOOLEAN", "(?i)true|false", "IS NOT NULL"),
    "integer": ("BIGINT", _WHOLE, "IS NOT NULL"),
    # The deviation of larger numbers would be infinite.
    "number": ("DOUBLE", _DECIMAL, "BETWEEN -1e100 AND 1e100"),
    # Python has no year 0.
    "date": ("DATE", _DAY, ">= '0001-01-01'"),
    "datetime": ("TIMESTAMP", f"{_DAY}[T ]{_TIME}", ">= '0001-01-01'"),
}
"""What DuckDB calls a type, how it is written, and which values can be computed with."""

_COLUMNS_AT_ONCE = 50
"""More would be faster, and take more memory."""
_MAX_BINS = 20
_SHOWN = 100
"""Characters of a text."""


def describe(
    database: DuckDBPyConnection, path: Path, folder: Path, described: Callable[[int, int], None]
) -> ReportStatistics:
    """Compute the statistics of all columns; `folder` takes a copy. Raises CsvError.

    `described` is told how many of how many columns are done.
    """
    file = prepare(path, folder / "rows.csv")
    numbers = range(len(file.names))
    columns: list[ColumnStatistics] = []
    for first in numbers[::_COLUMNS_AT_ONCE]:
        at_once = numbers[first : first + _COLUMNS_AT_ONCE]
        load(database, file, at_once)
        for number in at_once:
            described(number, len(numbers))
            columns.append(_describe(database, number, file.names[number]))
    return ReportStatistics(rows=columns[0].count + columns[0].nulls, columns=columns)


def _describe(database: DuckDBPyConnection, number: int, name: str) -> ColumnStatistics:
    cell = f"c{number}"
    type_ = _group(database, cell)
    count, nulls = _row(database, f"FROM cells SELECT count({cell}), count(*) - count({cell})")
    distinct, low, high = _row(database, "FROM groups SELECT count(*), min(v), max(v)")
    top = database.execute("FROM groups ORDER BY n DESC, v LIMIT 5").fetchall()
    column = ColumnStatistics(
        name=name,
        type=type_,
        count=count,
        nulls=nulls,
        distinct=distinct,
        top=[TopValue(value=_plain(value), count=n) for value, n in top],
    )
    if type_ in {"integer", "number"}:
        _describe_numbers(database, column)
    if type_ not in {"boolean", "text"}:
        column.min, column.max = _plain(low), _plain(high)
        column.histogram = _make_histogram(database, column)
    return column


def _group(database: DuckDBPyConnection, cell: str) -> ColumnType:
    """Make the table `groups`: each value `v` of a column, and how often it is there, `n`."""
    filled = f"FROM cells SELECT {cell} AS cell WHERE cell IS NOT NULL"
    database.execute(f"CREATE OR REPLACE TEMP VIEW filled AS {filled}")
    type_, sql_type = _find_type(database)
    groups = f"FROM filled SELECT CAST(cell AS {sql_type}) AS v, count(*) AS n GROUP BY v"
    database.execute(f"CREATE OR REPLACE TABLE groups AS {groups}")
    return type_


def _find_type(database: DuckDBPyConnection) -> tuple[ColumnType, str]:
    """Return the first type that every cell has, and what DuckDB calls it."""
    if database.execute("FROM filled LIMIT 1").fetchone():
        for type_, (sql_type, pattern, valid) in _TYPES.items():
            fits = f"regexp_full_match(cell, '{pattern}') AND TRY_CAST(cell AS {sql_type}) {valid}"
            other = f"FROM filled WHERE NOT coalesce({fits}, false) LIMIT 1"
            if not database.execute(other).fetchone():
                return type_, sql_type
    return "text", "VARCHAR"


def _describe_numbers(database: DuckDBPyConnection, column: ColumnStatistics) -> None:
    mean = "(FROM groups SELECT sum(v::DOUBLE * n) / sum(n) AS mean)"
    std = "sqrt(sum(n * (v - mean) ** 2) / nullif(sum(n) - 1, 0))"
    column.mean, column.std = _row(database, f"FROM groups, {mean} SELECT any_value(mean), {std}")
    seen = "FROM groups SELECT v, sum(n) OVER (ORDER BY v ROWS UNBOUNDED PRECEDING) AS seen"
    quartiles = ", ".join(_quantile(share * (column.count - 1)) for share in (0.25, 0.5, 0.75))
    column.p25, column.p50, column.p75 = _row(database, f"FROM ({seen}) SELECT {quartiles}")


def _quantile(rank: float) -> str:
    """Return the SQL of what is at a rank from 0; between two ranks it is interpolated."""
    low, high = (f"min(v) FILTER (seen > {whole(rank)})::DOUBLE" for whole in (floor, ceil))
    return f"{low} + ({high} - {low}) * {rank % 1}"


def _take_outliers(database: DuckDBPyConnection, p25: Any, p75: Any) -> tuple[int, int]:
    """Count the outliers at both ends, and remove them from the groups."""
    if p25 == p75:
        return 0, 0
    low, high = p25 - 1.5 * (p75 - p25), p75 + 1.5 * (p75 - p25)
    beyond = "coalesce(sum(n) FILTER (v < ?), 0), coalesce(sum(n) FILTER (v > ?), 0)"
    found: tuple[int, int] = _row(database, f"FROM groups SELECT {beyond}", [low, high])
    database.execute("DELETE FROM groups WHERE v < ? OR v > ?", [low, high])
    return found


def _make_histogram(database: DuckDBPyConnection, column: ColumnStatistics) -> Histogram:
    below, above = _take_outliers(database, column.p25, column.p75)
    low, high, count = _row(database, "FROM groups SELECT min(v), max(v), sum(n)")
    edges = _edges(low, high, bins=min(ceil(2 * cbrt(count)), _MAX_BINS))  # Rice's rule
    smaller = "".join("sum(n * (v < ?)::INT), " for _ in edges[1:-1])
    seen = [0, *_row(database, f"FROM groups SELECT {smaller} sum(n)", edges[1:-1])]
    counts = [last - first for first, last in pairwise(seen)]
    edges = [_plain(edge) for edge in edges]
    return Histogram(edges=edges, counts=counts, below=below, above=above)


def _edges(low: Any, high: Any, bins: int) -> list[Any]:
    """Cut a range into bins of one width; whole numbers and days stay whole, the rest is last."""
    if low == high:
        return [low, high]
    if isinstance(low, float | datetime):
        return [low + (high - low) * (index / bins) for index in range(bins)] + [high]
    unit = timedelta(days=1) if isinstance(low, date) else 1
    units = (high - low) // unit + 1
    return [*(low + first * unit for first in range(0, units, -(-units // bins))), high]


def _plain(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _SHOWN:
        return value[: _SHOWN - 1] + "…"
    return value.isoformat() if isinstance(value, date) else value


def _row(database: DuckDBPyConnection, query: str, values: Any = None) -> Any:
    return database.execute(query, values).fetchall()[0]
