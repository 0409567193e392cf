"""Statistics of a CSV file by DuckDB: exact, and in bounded memory whatever the file holds.

The values of a column are grouped and counted, on the disk if they are many. All else follows
from the groups.
"""

from datetime import date, datetime, timedelta
from itertools import pairwise
from math import cbrt, ceil, floor
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from .csv_file import load, prepare
from .schemas import ColumnStatistics, ColumnType, ReportStatistics

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
    database: DuckDBPyConnection, path: Path, folder: Path, max_columns: int
) -> ReportStatistics:
    """Compute the statistics of all columns; `folder` takes a copy. Raises CsvError."""
    file = prepare(path, folder / "rows.csv", max_columns)
    columns = range(len(file.names))
    described: list[ColumnStatistics] = []
    for first in columns[::_COLUMNS_AT_ONCE]:
        at_once = columns[first : first + _COLUMNS_AT_ONCE]
        load(database, file, at_once)
        (rows,) = _row(database, "FROM cells SELECT count(*)")
        described += (_describe(database, n, file.names[n], rows) for n in at_once)
    return ReportStatistics(rows=rows, columns=described)


def _describe(database: DuckDBPyConnection, number: int, name: str, rows: int) -> ColumnStatistics:
    filled = f"FROM cells SELECT c{number} AS cell WHERE cell IS NOT NULL"
    database.execute(f"CREATE OR REPLACE TEMP VIEW filled AS {filled}")
    type_, sql_type = _find_type(database)
    groups = f"FROM filled SELECT CAST(cell AS {sql_type}) AS v, count(*) AS n GROUP BY v"
    database.execute(f"CREATE OR REPLACE TABLE groups AS {groups}")
    query = "FROM groups SELECT coalesce(sum(n), 0)::BIGINT, count(*), min(v), max(v)"
    count, distinct, low, high = _row(database, query)
    top = database.execute("FROM groups ORDER BY n DESC, v LIMIT 5").fetchall()
    found: dict[str, Any] = {"top": [{"value": _plain(value), "count": n} for value, n in top]}
    if type_ in {"integer", "number"}:
        found |= _describe_numbers(database, count, sql_type)
    if type_ not in {"boolean", "text"}:
        found |= {"min": _plain(low), "max": _plain(high)}
        found["histogram"] = _make_histogram(database, count, low, high, found.get("outliers"))
    nulls = rows - count
    return ColumnStatistics(
        name=name, type=type_, count=count, nulls=nulls, distinct=distinct, **found
    )


def _find_type(database: DuckDBPyConnection) -> tuple[ColumnType, str]:
    """Return the first type that every cell has, and what DuckDB calls it."""
    if _row(database, "FROM filled SELECT count(*)") == (0,):
        return "text", "VARCHAR"
    for type_, (sql_type, pattern, valid) in _TYPES.items():
        fits = f"regexp_full_match(cell, '{pattern}') AND TRY_CAST(cell AS {sql_type}) {valid}"
        other = f"FROM filled WHERE NOT coalesce({fits}, false) LIMIT 1"
        if not database.execute(other).fetchall():
            return type_, sql_type
    return "text", "VARCHAR"


def _describe_numbers(database: DuckDBPyConnection, count: int, sql_type: str) -> dict[str, Any]:
    typed = f"FROM filled SELECT CAST(cell AS {sql_type}) AS v"
    mean, std = _row(database, f"FROM ({typed}) SELECT avg(v), stddev_samp(v)")
    seen = "FROM groups SELECT v, sum(n) OVER (ORDER BY v ROWS UNBOUNDED PRECEDING) AS seen"
    quartiles = ", ".join(_quantile(share * (count - 1)) for share in (0.25, 0.5, 0.75))
    p25, p50, p75 = _row(database, f"FROM ({seen}) SELECT {quartiles}")
    outliers = _find_outliers(database, p25, p75) if p25 < p75 else None
    return {"mean": mean, "std": std, "p25": p25, "p50": p50, "p75": p75, "outliers": outliers}


def _quantile(rank: float) -> str:
    """Return the SQL of what is at a rank from 0; between two ranks it is interpolated."""
    low, high = (f"min(v) FILTER (seen > {whole(rank)})::DOUBLE" for whole in (floor, ceil))
    return f"{low} + ({high} - {low}) * {rank % 1}"


def _find_outliers(database: DuckDBPyConnection, p25: float, p75: float) -> dict[str, Any]:
    low, high = p25 - 1.5 * (p75 - p25), p75 + 1.5 * (p75 - p25)
    beyond = "coalesce(sum(n) FILTER (v < ?), 0), coalesce(sum(n) FILTER (v > ?), 0)"
    below, above = _row(database, f"FROM groups SELECT {beyond}", [low, high])
    return {"low": low, "high": high, "below": below, "above": above}


def _make_histogram(
    database: DuckDBPyConnection, count: int, low: Any, high: Any, outliers: Any
) -> dict[str, Any]:
    below = above = 0
    if outliers:
        inside = "FROM groups SELECT min(v), max(v) WHERE v BETWEEN ? AND ?"
        low, high = _row(database, inside, [outliers["low"], outliers["high"]])
        below, above = outliers["below"], outliers["above"]
    edges = _edges(low, high, bins=min(ceil(2 * cbrt(count)), _MAX_BINS))  # Rice's rule
    smaller = "".join(", coalesce(sum(n) FILTER (v < ?), 0)" for _ in edges[1:-1])
    seen = [*_row(database, f"FROM groups SELECT {below}{smaller}", edges[1:-1]), count - above]
    counts = [last - first for first, last in pairwise(seen)]
    return {"edges": [_plain(edge) for edge in edges], "counts": counts}


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


def _row(database: DuckDBPyConnection, query: str, values: list[Any] | None = None) -> Any:
    return database.execute(query, values).fetchall()[0]
