"""Statistics of a CSV file by DuckDB: exact, and in bounded memory whatever the file holds.

The values of a column are grouped and counted, on the disk if they are many. All else follows
from the groups. DuckDB works without the interpreter's lock, so requests are answered meanwhile.
"""

import asyncio
from collections.abc import Callable
from math import cbrt, ceil, floor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from .csv_file import CsvError, load, prepare
from .schemas import ColumnStatistics, ColumnType, ReportStatistics

MEMORY_LIMIT = "64MB"
"""Of DuckDB, for one file; what is more goes to the disk."""
_COLUMNS_AT_ONCE = 50
"""More would be faster, and take more memory."""
_MAX_BINS = 20

_WHOLE = "[+-]?(0|[1-9][0-9]*)"
_DECIMAL = f"({_WHOLE}([.][0-9]*)?|[+-]?[.][0-9]+)([eE][+-]?[0-9]+)?"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = "[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?"

# What DuckDB calls it, how it is written, and which values can be computed with.
_TYPES: dict[ColumnType, tuple[str, str, str]] = {
    "boolean": ("BOOLEAN", "(?i)true|false", "IS NOT NULL"),
    "integer": ("BIGINT", _WHOLE, "IS NOT NULL"),
    # The deviation of larger numbers would be infinite.
    "number": ("DOUBLE", _DECIMAL, "BETWEEN -1e100 AND 1e100"),
    # Python has no year 0.
    "date": ("DATE", _DAY, ">= '0001-01-01'"),
    "datetime": ("TIMESTAMP", f"{_DAY}[T ]{_TIME}", ">= '0001-01-01'"),
}
# Where a value stands in a histogram, and how far the next one is, if there is a next one.
_AXES: dict[ColumnType, tuple[str, int]] = {
    "integer": ("v::DOUBLE", 1),
    "number": ("v", 0),
    "date": ("epoch(v)", 86400),
    "datetime": ("epoch(v)", 0),
}

Database = duckdb.DuckDBPyConnection


async def analyse(path: Path, described: Callable[[int, int], None]) -> ReportStatistics:
    """Compute the statistics of a file. Its thread has ended when this ends, however it does.

    `described` is told, in the thread, how many of how many columns are done.
    Raises CsvError when the file is not acceptable.
    """
    with (
        TemporaryDirectory(dir=path.parent) as folder,
        await asyncio.to_thread(open_database, folder) as database,  # it takes 20 ms
    ):
        thread = asyncio.to_thread(describe, database, path, Path(folder), described)
        work = asyncio.create_task(thread)
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            while not work.done():  # more than once: between two statements it stops nothing
                database.interrupt()
                await asyncio.wait([work], timeout=0.05)
            work.exception()  # or asyncio would log that nobody has asked
            raise
        return work.result()


def open_database(folder: str) -> Database:
    """Open a database in memory that reads and writes this folder only: no network either."""
    database = duckdb.connect(
        config={
            "threads": 1,  # leave the other cores to the requests
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": folder,
            # What is free now would be the limit, and a full disk be told as a lack of memory.
            "max_temp_directory_size": "1TB",
            "preserve_insertion_order": False,
        }
    )
    database.execute("SET enable_progress_bar = false")  # it would be on standard output
    database.execute("SET allowed_directories = ?", [[folder]])
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def describe(
    database: Database, path: Path, folder: Path, described: Callable[[int, int], None]
) -> ReportStatistics:
    """Do the work of `analyse`; `folder` takes a copy of the file."""
    file = prepare(path, folder / "rows.csv")
    numbers = range(len(file.names))
    columns: list[ColumnStatistics] = []
    try:
        for number, name in enumerate(file.names):
            if number % _COLUMNS_AT_ONCE == 0:
                load(database, file, numbers[number : number + _COLUMNS_AT_ONCE])
            described(number, len(numbers))
            columns.append(_describe(database, f"c{number}", name))
    except (duckdb.OutOfMemoryException, duckdb.TransactionException) as error:
        msg = f"its rows are too large to be computed in {MEMORY_LIMIT} of memory"
        raise CsvError(msg) from error
    return ReportStatistics(rows=columns[0].count + columns[0].nulls, columns=columns)


def _describe(database: Database, cell: str, name: str) -> ColumnStatistics:
    type_ = _find_type(database, cell)
    value = f"{cell}::{_TYPES[type_][0]}" if type_ in _TYPES else cell
    groups = f"FROM cells SELECT {value} AS v, count(*) AS n WHERE v IS NOT NULL GROUP BY v"
    database.execute(f"CREATE OR REPLACE TABLE groups AS {groups}")
    facts = _row(database, f"FROM cells SELECT count({cell}) AS count, count(*) - count AS nulls")
    facts |= _row(database, "FROM groups SELECT count(*) AS distinct")
    if type_ in _AXES:
        facts |= _row(database, "FROM groups SELECT min(v) AS min, max(v) AS max")
        facts["histogram"] = _make_histogram(database, *_AXES[type_], facts["count"])
    if type_ in {"integer", "number"}:
        facts |= _describe_numbers(database, cell, facts["count"])
    value = "v" if type_ in _TYPES else "if(length(v) > 100, left(v, 99) || '…', v)"
    top = f"FROM groups SELECT {value} AS value, n AS count ORDER BY n DESC, v LIMIT 5"
    return ColumnStatistics(name=name, type=type_, top=_rows(database, top), **facts)


def _find_type(database: Database, cell: str) -> ColumnType:
    """Return the first type that every value has."""
    if _rows(database, f"FROM cells SELECT 1 WHERE {cell} IS NOT NULL LIMIT 1"):
        for type_, (sql, pattern, valid) in _TYPES.items():
            fits = f"regexp_full_match({cell}, '{pattern}') AND TRY_CAST({cell} AS {sql}) {valid}"
            other = f"{cell} IS NOT NULL AND NOT coalesce({fits}, false)"
            if not _rows(database, f"FROM cells SELECT 1 WHERE {other} LIMIT 1"):
                return type_
    return "text"


def _describe_numbers(database: Database, cell: str, count: int) -> dict[str, float]:
    number = f"{cell}::DOUBLE"
    facts = _row(database, f"FROM cells SELECT avg({number}) AS mean, stddev_samp({number}) AS std")
    seen = "FROM groups SELECT v, sum(n) OVER (ORDER BY v ROWS UNBOUNDED PRECEDING) AS seen"
    quartiles = ", ".join(f"{_quantile(p / 100 * (count - 1))} AS p{p}" for p in (25, 50, 75))
    return facts | _row(database, f"FROM ({seen}) SELECT {quartiles}")


def _quantile(rank: float) -> str:
    """Return the SQL of what is at a rank from 0; between two ranks it is interpolated."""
    low, high = (f"min(v) FILTER (seen > {whole(rank)})::DOUBLE" for whole in (floor, ceil))
    return f"{low} + ({high} - {low}) * {rank % 1}"


def _make_histogram(database: Database, x: str, unit: int, count: int) -> list[dict[str, Any]]:
    """Cut the range into bins of one width and return those that have values.

    Whole numbers and days stay whole, so that the last bin may reach beyond the maximum.
    """
    extent = f"FROM groups SELECT min({x}) AS low, max({x}) - min({x}) + {unit} AS width"
    low, width = _row(database, extent).values()
    width = width or 1.0
    bins = min(ceil(2 * cbrt(count)), _MAX_BINS)  # Rice's rule
    step = ceil(width / unit / bins) * unit if unit else width / bins
    bins = ceil(width / step)  # the last one takes the maximum, too
    start = f"least(floor(({x} - {low}) / {step}), {bins - 1}) / {bins} AS start"
    bin_ = f"{start}, 1 / {bins} AS share, min(v) AS low, max(v) AS high, sum(n) AS count"
    return _rows(database, f"FROM groups SELECT {bin_} GROUP BY start ORDER BY start")


def _rows(database: Database, query: str) -> list[dict[str, Any]]:
    result = database.execute(query)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _row(database: Database, query: str) -> dict[str, Any]:
    return _rows(database, query)[0]
