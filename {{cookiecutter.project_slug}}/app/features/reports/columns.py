"""Statistics of a CSV file by DuckDB: exact, and in bounded memory whatever the file holds.

The values of a column are grouped and counted, on the disk if they are many. All else follows
from the groups. DuckDB works without the interpreter's lock, so requests are answered meanwhile.
"""

import asyncio
from collections.abc import Callable
from datetime import date
from math import cbrt, ceil, floor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .csv_file import load, prepare
from .schemas import Bin, ColumnStatistics, ColumnType, ReportStatistics, TopValue

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT = "64MB"
"""Of DuckDB, for one file; what is more goes to the disk."""

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
_AXES = {
    "integer": ("v::DOUBLE", 1),
    "number": ("v", 0),
    "date": ("epoch(v)", 86400),
    "datetime": ("epoch(v)", 0),
}
"""Where a value stands, and how far from the next one if there is a next one."""

_COLUMNS_AT_ONCE = 50
"""More would be faster, and take more memory."""
_MAX_BINS = 20
_SHOWN = 100
"""Characters of a text."""


async def analyse(path: Path, described: Callable[[int, int], None]) -> ReportStatistics:
    """Compute the statistics of a file. Its thread has ended when this ends, however it does.

    `described` is told, in the thread, how many of how many columns are done.
    Raises CsvError when the file is not acceptable, duckdb.OutOfMemoryException or
    duckdb.TransactionException when its rows are too large.
    """
    with TemporaryDirectory(dir=path.parent) as folder, open_database(folder) as database:
        work = asyncio.create_task(
            asyncio.to_thread(describe, database, path, Path(folder), described)
        )
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            while not work.done():  # more than once: between two statements it stops nothing
                database.interrupt()
                await asyncio.wait([work], timeout=0.05)
            work.exception()  # or asyncio would log that nobody has asked
            raise
        return work.result()


def open_database(folder: str) -> "DuckDBPyConnection":
    """Open a database in memory that reads and writes this folder only: no network either."""
    from duckdb import connect  # noqa: PLC0415 - 22 MB, for reports only

    database = connect(
        config={
            "threads": 1,  # leave the other cores to the requests
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": folder,
            "preserve_insertion_order": False,
        }
    )
    database.execute("SET enable_progress_bar = false")  # it would be on standard output
    database.execute("SET allowed_directories = ?", [[folder]])
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def describe(
    database: "DuckDBPyConnection", path: Path, folder: Path, described: Callable[[int, int], None]
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


def _describe(database: "DuckDBPyConnection", number: int, name: str) -> ColumnStatistics:
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
    if count and type_ in _AXES:
        column.min, column.max = _plain(low), _plain(high)
        column.histogram = _make_histogram(database, column)
    return column


def _group(database: "DuckDBPyConnection", cell: str) -> ColumnType:
    """Make the table `groups`: each value `v` of a column, and how often it is there, `n`."""
    filled = f"FROM cells SELECT {cell} AS cell WHERE cell IS NOT NULL"
    database.execute(f"CREATE OR REPLACE TEMP VIEW filled AS {filled}")
    type_, sql_type = _find_type(database)
    groups = f"FROM filled SELECT CAST(cell AS {sql_type}) AS v, count(*) AS n GROUP BY v"
    database.execute(f"CREATE OR REPLACE TABLE groups AS {groups}")
    return type_


def _find_type(database: "DuckDBPyConnection") -> tuple[ColumnType, str]:
    """Return the first type that every cell has, and what DuckDB calls it."""
    if database.execute("FROM filled LIMIT 1").fetchone():
        for type_, (sql_type, pattern, valid) in _TYPES.items():
            fits = f"regexp_full_match(cell, '{pattern}') AND TRY_CAST(cell AS {sql_type}) {valid}"
            other = f"FROM filled WHERE NOT coalesce({fits}, false) LIMIT 1"
            if not database.execute(other).fetchone():
                return type_, sql_type
    return "text", "VARCHAR"


def _describe_numbers(database: "DuckDBPyConnection", column: ColumnStatistics) -> None:
    numbers = "(FROM filled SELECT CAST(cell AS DOUBLE) AS x)"
    column.mean, column.std = _row(database, f"FROM {numbers} SELECT avg(x), stddev_samp(x)")
    seen = "FROM groups SELECT v, sum(n) OVER (ORDER BY v ROWS UNBOUNDED PRECEDING) AS seen"
    quartiles = ", ".join(_quantile(share * (column.count - 1)) for share in (0.25, 0.5, 0.75))
    column.p25, column.p50, column.p75 = _row(database, f"FROM ({seen}) SELECT {quartiles}")


def _quantile(rank: float) -> str:
    """Return the SQL of what is at a rank from 0; between two ranks it is interpolated."""
    low, high = (f"min(v) FILTER (seen > {whole(rank)})::DOUBLE" for whole in (floor, ceil))
    return f"{low} + ({high} - {low}) * {rank % 1}"


def _make_histogram(database: "DuckDBPyConnection", column: ColumnStatistics) -> list[Bin]:
    """Cut the range into parts of one width and return those that have values.

    Whole numbers and days stay whole; what is left over makes the last part a narrow one.
    """
    x, unit = _AXES[column.type]
    low, width = _row(database, f"FROM groups SELECT min({x}), max({x}) - min({x}) + {unit}")
    width = width or 1.0
    bins = min(ceil(2 * cbrt(column.count)), _MAX_BINS)  # Rice's rule
    step = ceil(width / unit / bins) * unit if unit else width / bins
    given = {"low": low, "share": step / width, "last": ceil(width / step) - 1, "step": step}
    start = f"least(floor(({x} - $low) / $step), $last) * $share AS start"
    bin_ = f"{start}, least($share, 1 - start), min(v), max(v), sum(n)"
    rows = database.execute(f"FROM groups SELECT {bin_} GROUP BY start ORDER BY start", given)
    return [
        Bin(start=start, share=share, low=_plain(first), high=_plain(last), count=count)
        for start, share, first, last, count in rows.fetchall()
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _SHOWN:
        return value[: _SHOWN - 1] + "…"
    return value.isoformat() if isinstance(value, date) else value


def _row(database: "DuckDBPyConnection", query: str, values: Any = None) -> Any:
    return database.execute(query, values).fetchall()[0]
