"""Statistics of a CSV file by DuckDB: exact, and in bounded memory whatever the file holds.

The values of a column are grouped and counted, on the disk if they are many. All else follows
from the groups.
"""

from datetime import date, datetime, timedelta
from itertools import pairwise
from math import cbrt, ceil, floor
from typing import Any

from duckdb import DuckDBPyConnection

from .csv_file import MAX_TEXT, CsvFile
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
_SHOWN = 100
_MAX_BINS = 20
_WIDE = 10
"""A bin of so many whole numbers or days may have one more than others."""
_FENCE = 1.5
"""Quartile ranges from the quartiles to where outliers begin (Tukey)."""


def describe(database: DuckDBPyConnection, file: CsvFile) -> ReportStatistics:
    """Compute the statistics of all columns. Raises CsvError for a bad row."""
    columns = range(len(file.names))
    described: list[ColumnStatistics] = []
    for first in columns[::_COLUMNS_AT_ONCE]:
        at_once = columns[first : first + _COLUMNS_AT_ONCE]
        file.load(database, at_once)
        (rows,) = _row(database, "FROM cells SELECT count(*)")
        described += (_describe(database, n, file.names[n], rows) for n in at_once)
    return ReportStatistics(rows=rows, columns=described)


def _describe(database: DuckDBPyConnection, number: int, name: str, rows: int) -> ColumnStatistics:
    type_ = _group(database, number)
    query = "FROM groups SELECT coalesce(sum(n), 0), count(*), min(v), max(v)"
    count, distinct, low, high = _row(database, query)
    known: dict[str, Any] = {"approximate": _find_approximate(database, type_)}
    if type_ in {"integer", "number"}:
        known |= _describe_numbers(database, count)
    if type_ not in {"boolean", "text"}:
        known |= _describe_spread(database, count, low, high, known)
        known |= {"min": _plain(low), "max": _plain(high)}
    top = database.execute("FROM groups ORDER BY n DESC, v LIMIT 5").fetchall()
    known["top"] = [{"value": _plain(value), "count": n} for value, n in top]
    known |= {"name": name, "type": type_, "count": count, "nulls": rows - count}
    return ColumnStatistics(distinct=distinct, **known)


def _group(database: DuckDBPyConnection, number: int) -> ColumnType:
    """Make the table `groups` of a column: its values `v`, and how often each is there, `n`."""
    filled = f"FROM cells SELECT c{number} AS cell WHERE cell IS NOT NULL"
    database.execute(f"CREATE OR REPLACE TEMP VIEW filled AS {filled}")
    type_, sql_type = _find_type(database)
    typed = f"FROM filled SELECT CAST(cell AS {sql_type}) AS v"
    database.execute(f"CREATE OR REPLACE TEMP VIEW typed AS {typed}")
    groups = "FROM typed SELECT v, count(*) AS n GROUP BY v"
    database.execute(f"CREATE OR REPLACE TABLE groups AS {groups}")
    return type_


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


def _describe_numbers(database: DuckDBPyConnection, count: int) -> dict[str, Any]:
    mean, std = _row(database, "FROM typed SELECT avg(v), stddev_samp(v)")
    positions = [share * (count - 1) for share in (0.25, 0.5, 0.75)]
    ranks = [rank for position in positions for rank in (floor(position), ceil(position))]
    by_rank = ", ".join("min(v) FILTER (seen > ?)" for _ in ranks)
    seen = "FROM groups SELECT v, sum(n) OVER (ORDER BY v ROWS UNBOUNDED PRECEDING) AS seen"
    found = _row(database, f"FROM ({seen}) SELECT {by_rank}", ranks)
    p25, p50, p75 = (
        low + (high - low) * (position % 1)
        for position, low, high in zip(positions, found[::2], found[1::2], strict=True)
    )
    return {"mean": mean, "std": std, "p25": p25, "p50": p50, "p75": p75}


def _describe_spread(
    database: DuckDBPyConnection, count: int, low: Any, high: Any, known: dict[str, Any]
) -> dict[str, Any]:
    outliers = _find_outliers(database, known)
    if outliers:
        inside = "FROM groups SELECT min(v), max(v) WHERE v BETWEEN ? AND ?"
        low, high = _row(database, inside, [outliers["low"], outliers["high"]])
    below, above = (outliers["below"], outliers["above"]) if outliers else (0, 0)
    edges = _edges(low, high, bins=min(ceil(2 * cbrt(count)), _MAX_BINS))  # Rice's rule
    smaller = "".join(", coalesce(sum(n) FILTER (v < ?), 0)" for _ in edges[1:-1])
    seen = [*_row(database, f"FROM groups SELECT {below}{smaller}", edges[1:-1]), count - above]
    histogram = {
        "edges": [_plain(edge) for edge in edges],
        "counts": [last - first for first, last in pairwise(seen)],
    }
    return {"histogram": histogram, "outliers": outliers}


def _find_outliers(database: DuckDBPyConnection, known: dict[str, Any]) -> dict[str, Any] | None:
    spread = known["p75"] - known["p25"] if "p25" in known else 0
    if not spread:
        return None  # half of the values are the same, and nothing can be said of the others
    fences = [known["p25"] - _FENCE * spread, known["p75"] + _FENCE * spread]
    beyond = "coalesce(sum(n) FILTER (v < ?), 0), coalesce(sum(n) FILTER (v > ?), 0)"
    below, above = _row(database, f"FROM groups SELECT {beyond}", fences)
    return {"low": fences[0], "high": fences[1], "below": below, "above": above}


def _edges(low: Any, high: Any, bins: int) -> list[Any]:
    """Cut a range into bins of one width, or as good as one: whole numbers and days stay whole."""
    if low == high:
        return [low, high]
    if isinstance(low, float | datetime):
        return [low + (high - low) * (index / bins) for index in range(bins)] + [high]
    unit = timedelta(days=1) if isinstance(low, date) else 1
    units = (high - low) // unit + 1
    if units < _WIDE * bins:
        return [*(low + first * unit for first in range(0, units, -(-units // bins))), high]
    return [*(low + index * units // bins * unit for index in range(bins)), high]


def _find_approximate(database: DuckDBPyConnection, type_: ColumnType) -> list[str]:
    if type_ != "text":
        return []
    (longest,) = _row(database, "FROM groups SELECT max(length(v))")
    return ["distinct", "top"] if (longest or 0) > MAX_TEXT else []


def _plain(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _SHOWN:
        return value[: _SHOWN - 1] + "…"
    return value.isoformat() if isinstance(value, date) else value


def _row(database: DuckDBPyConnection, query: str, values: list[Any] | None = None) -> Any:
    return database.execute(query, values).fetchall()[0]
