"""Statistics of a CSV file by DuckDB, in bounded memory whatever the file holds.

It works without the interpreter's lock, so requests are answered meanwhile.
"""

import asyncio
from collections.abc import Callable
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from .csv_file import CsvError, CsvFile, prepare
from .schemas import ColumnStatistics, ColumnType, ReportStatistics

_COLUMNS_AT_ONCE = 50
"""More would be faster, and take more memory."""
_MAX_BINS = 12

# With IN, DuckDB would make a hash table for each column. Large cells are cut off before anything
# is made of them: a vector of them knows no limit of memory.
_CELL = """CREATE MACRO cell(c) AS
    if(regexp_full_match(c, '(?i) *(na|#?n/a|null|nan)? *'), NULL, trim(left(c, 200)))"""
_LOAD = """CREATE OR REPLACE TABLE cells AS SELECT cell(COLUMNS(?)) FROM read_csv(
    ?, delim = ?, skip = ?, columns = ?, auto_detect = false, header = false,
    quote = '"', escape = '"', max_line_size = 2097152, buffer_size = 8388608)"""

_DAY = r"[1-9]\d{3}-\d\d-\d\d"
_FACTS = "count(v) AS count, count(*) - count(v) AS nulls"
_RANGE = _FACTS + ", min(v) AS min, max(v) AS max"
_NUMBER = _RANGE + (
    ", avg(v) AS mean, stddev_samp(v) AS std, approx_quantile(v::DOUBLE, 0.25) AS p25,"
    " approx_quantile(v::DOUBLE, 0.5) AS p50, approx_quantile(v::DOUBLE, 0.75) AS p75"
)
# What DuckDB calls a type, how its values are written, and what is asked of them. The deviation of
# larger numbers would be infinite.
_TYPES: dict[ColumnType, tuple[str, str, str]] = {
    "boolean": ("BOOLEAN", "(?i)true|false", _FACTS),
    "integer": ("BIGINT", r"[+-]?(0|[1-9]\d*)", _NUMBER),
    "number": ("DOUBLE", r"[+-]?(0|[1-9]\d{0,40})?([.]\d*)?([eE](\+?\d\d?|-\d{1,3}))?", _NUMBER),
    "date": ("DATE", _DAY, _RANGE),
    "datetime": ("TIMESTAMP", _DAY + r"[T ]\d\d:\d\d(:\d\d([.]\d{1,6})?)?", _RANGE),
    "text": ("VARCHAR", "(?s).*", _FACTS),
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
            "memory_limit": "64MB",  # what is more goes to the disk
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
    database.execute(_CELL)
    return database


def describe(
    database: Database, path: Path, folder: Path, described: Callable[[int, int], None]
) -> ReportStatistics:
    """Do the work of `analyse`; `folder` takes a copy of the file."""
    file = prepare(path, folder / "rows.csv")
    columns: list[ColumnStatistics] = []
    for number, name in enumerate(file.names):
        if number % _COLUMNS_AT_ONCE == 0:
            load(database, file, number)
        described(number, len(file.names))
        columns.append(_describe(database, f"c{number}", name))
    return ReportStatistics(rows=columns[0].count + columns[0].nulls, columns=columns)


def load(database: Database, file: CsvFile, first: int) -> None:
    """Make the table `cells` of the next columns, which are called c0, c1, ... by their number.

    Raises CsvError for a bad row.
    """
    names = [f"c{number}" for number in range(len(file.names))]
    chosen, types = names[first : first + _COLUMNS_AT_ONCE], dict.fromkeys(names, "VARCHAR")
    values = [chosen, str(file.path), file.delimiter, file.header_row, types]
    try:
        database.execute(_LOAD, values)
    except duckdb.InvalidInputException as error:
        raise _explain(str(error)) from error


def _explain(error: str) -> CsvError:
    # "CSV Error on Line: 7", the line, which may say anything, the reason, "Possible fixes:"
    row = int(error.partition("CSV Error on Line: ")[2].split()[0])
    reason = error.rpartition("\nPossible fixes:")[0].rstrip().rpartition("\n")[2]
    reason = reason.lower().replace(" found:", ", found").rstrip(".")
    return CsvError(f"row {row:,}: {reason or 'it is larger than 2 MB; is a quote not closed?'}")


def _describe(database: Database, cell: str, name: str) -> ColumnStatistics:
    type_ = _find_type(database, cell)
    sql, _, facts = _TYPES[type_]
    database.execute(f"CREATE OR REPLACE VIEW cell AS FROM cells SELECT {cell}::{sql} AS v")
    groups = "FROM cell SELECT v, count(*) AS n WHERE v IS NOT NULL GROUP BY v"
    database.execute(f"CREATE OR REPLACE TABLE groups AS {groups}")
    found = _rows(database, f"FROM cell SELECT {facts}, (FROM groups SELECT count(*)) AS distinct")
    top = _rows(database, "FROM groups SELECT v AS value, n AS count ORDER BY n DESC, v LIMIT 5")
    histogram = _make_histogram(database, type_) if "min" in found[0] else None
    return ColumnStatistics(name=name, type=type_, top=top, histogram=histogram, **found[0])


def _find_type(database: Database, cell: str) -> ColumnType:
    """Return the first type that every value has."""
    if _rows(database, f"FROM cells SELECT 1 WHERE {cell} IS NOT NULL LIMIT 1"):
        for type_, (sql, pattern, _) in _TYPES.items():
            fits = (
                f"regexp_full_match({cell}, '{pattern}') AND TRY_CAST({cell} AS {sql}) IS NOT NULL"
            )
            other = f"{cell} IS NOT NULL AND NOT ({fits})"
            if not _rows(database, f"FROM cells SELECT 1 WHERE {other} LIMIT 1"):
                return type_
    return "text"


def _make_histogram(database: Database, type_: ColumnType) -> list[dict[str, Any]]:
    """Cut the range into bins of one width; whole numbers and days stay whole."""
    x = "epoch(v) / 86400" if type_ in {"date", "datetime"} else "v::DOUBLE"
    unit = int(type_ in {"integer", "date"})
    extent = f"FROM groups SELECT min({x}) AS low, max({x}) - min({x}) + {unit} AS width"
    low, width = _rows(database, extent)[0].values()
    step = ceil(width / _MAX_BINS) if unit else width / _MAX_BINS or 1.0
    number = f"least(floor(({x} - {low}) / {step}), {_MAX_BINS - 1})::INTEGER AS number"
    facts = f"{number}, min(v) AS low, max(v) AS high, sum(n) AS count"
    return _rows(database, f"FROM groups SELECT {facts} GROUP BY number ORDER BY number")


def _rows(database: Database, query: str) -> list[dict[str, Any]]:
    result = database.execute(query)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
