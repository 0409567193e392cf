"""Computes the statistics of a CSV file with DuckDB, in bounded memory for any file.

DuckDB releases the interpreter's lock, so that requests are answered meanwhile.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from .csv_file import CsvError, CsvFile, prepare
from .schemas import ColumnStatistics, ColumnType, ReportStatistics

_COLUMNS_AT_ONCE = 50
"""More would be faster, but take more memory."""

# A pattern, because with IN DuckDB would build a hash table for each column. Large cells are cut
# off here, because vectors of them do not respect the memory limit.
_LOAD = """CREATE OR REPLACE TABLE cells AS SELECT
    if(regexp_full_match(COLUMNS($1), '(?i) *(na|#?n/a|null|nan)? *'), NULL,
        trim(left(COLUMNS($1), 200)))
    FROM read_csv($2, delim = $3, skip = $4, columns = $5, auto_detect = false, header = false,
        quote = '"', escape = '"', max_line_size = 2097152, buffer_size = 8388608)"""

_RANGE = "min(v) AS min, max(v) AS max, ARRAY(SELECT bins FROM bins ORDER BY number) AS histogram,"
_NUMBER = f"""{_RANGE} avg(v) AS mean, stddev_samp(v) AS std,
    approx_quantile(v::DOUBLE, 0.25) AS p25, approx_quantile(v::DOUBLE, 0.5) AS p50,
    approx_quantile(v::DOUBLE, 0.75) AS p75,"""
_DAY = r"[1-9]\d{3}-\d\d-\d\d"
# For each type: its name in DuckDB, the pattern of its values, and what is computed of them. Larger
# numbers do not match, because their deviation would be infinite.
_TYPES: dict[ColumnType, tuple[str, str, str]] = {
    "boolean": ("BOOLEAN", "(?i)true|false", ""),
    "integer": ("BIGINT", r"[+-]?(0|[1-9]\d*)", _NUMBER),
    "number": ("DOUBLE", r"[+-]?(0|[1-9]\d{0,40})?([.]\d*)?([eE](\+?\d\d?|-\d{1,3}))?", _NUMBER),
    "date": ("DATE", _DAY, _RANGE),
    "datetime": ("TIMESTAMP", _DAY + r"[T ]\d\d:\d\d(:\d\d([.]\d{1,6})?)?", _RANGE),
    "text": ("VARCHAR", "(?s).*", ""),
}
# All bins have the same width. For whole numbers and days, each bin begins with one of them.
_DESCRIBE = """
    WITH typed AS (SELECT {cell}::{sql} AS v FROM cells),
    groups AS MATERIALIZED (
        SELECT v AS value, count(*) AS count FROM typed WHERE v IS NOT NULL GROUP BY v
    ),
    axis AS (
        SELECT min({x}) AS low, max({x}) - low AS width,
            if(width = 0 OR bool_and({x} = floor({x})), ceil((width + 1) / 12), width / 12) AS step
        FROM groups
    ),
    bins AS (
        SELECT least(floor(({x} - axis.low) / step), 11)::INTEGER AS number,
            min(value) AS low, max(value) AS high, sum(count)::BIGINT AS count
        FROM groups, axis GROUP BY number
    ),
    facts AS (
        SELECT {facts} count(v) AS count, count(*) - count(v) AS nulls,
            (SELECT count(*) FROM groups) AS distinct,
            ARRAY(SELECT groups FROM groups ORDER BY count DESC, value LIMIT 5) AS top
        FROM typed
    )
    SELECT facts FROM facts"""

Database = duckdb.DuckDBPyConnection


async def analyse(path: Path, progress: Callable[[int, int], None]) -> ReportStatistics:
    """Compute the statistics of a file in a thread, which never outlives this call.

    `progress` is called in the thread, with the number of columns that are done and of all.
    Raises FileNotFoundError, and CsvError when the file is not acceptable.
    """
    with (
        TemporaryDirectory(dir=path.parent) as folder,
        await asyncio.to_thread(open_database, folder) as database,  # it takes 20 ms
    ):
        thread = asyncio.to_thread(describe, database, path, Path(folder), progress)
        work = asyncio.create_task(thread)
        try:
            await asyncio.wait([work])
        finally:
            while not work.done():  # repeated: between two statements it has no effect
                database.interrupt()
                await asyncio.wait([work], timeout=0.05)
            work.exception()  # or asyncio would log that it was never retrieved
        return work.result()


def open_database(folder: str) -> Database:
    """Open an in-memory database that can access only this folder, and no network."""
    database = duckdb.connect(
        config={
            "threads": 1,  # leave the other cores to the requests
            "memory_limit": "64MB",  # the rest goes to the disk
            "temp_directory": folder,
            "preserve_insertion_order": False,
        }
    )
    database.execute("SET allowed_directories = ?", [[folder]])
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def describe(
    database: Database, path: Path, folder: Path, progress: Callable[[int, int], None]
) -> ReportStatistics:
    """Compute the statistics, blocking; a copy of the file is made in `folder`."""
    file = prepare(path, folder / "rows.csv")
    columns: list[ColumnStatistics] = []
    for number, name in enumerate(file.names):
        if number % _COLUMNS_AT_ONCE == 0:
            load(database, file, number)
        progress(number, len(file.names))
        columns.append(_describe(database, f"c{number}", name))
    return ReportStatistics(rows=columns[0].count + columns[0].nulls, columns=columns)


def load(database: Database, file: CsvFile, first: int) -> None:
    """Load the columns from `first` on into the table `cells`, named by their numbers: c0, c1, ...

    Raises CsvError for a bad row.
    """
    names = [f"c{number}" for number in range(len(file.names))]
    loaded, types = names[first : first + _COLUMNS_AT_ONCE], dict.fromkeys(names, "VARCHAR")
    values = [loaded, str(file.path), file.delimiter, file.header_row, types]
    try:
        database.execute(_LOAD, values)
    except duckdb.InvalidInputException as error:
        raise _explain(str(error)) from error


def _explain(error: str) -> CsvError:
    # The text is "CSV Error on Line: 7", that line of the file, the reason, "Possible fixes:".
    row = int(error.partition("CSV Error on Line: ")[2].split()[0])
    reason = error.rpartition("\nPossible fixes:")[0].rstrip().rpartition("\n")[2]
    reason = reason.lower().replace(" found:", ", found").rstrip(".")
    return CsvError(f"row {row:,}: {reason or 'it is larger than 2 MB; is a quote not closed?'}")


def _describe(database: Database, cell: str, name: str) -> ColumnStatistics:
    type_ = _find_type(database, cell)
    sql, _, facts = _TYPES[type_]
    x = "epoch(value) / 86400" if type_ in {"date", "datetime"} else "value::DOUBLE"
    query = _DESCRIBE.format(cell=cell, sql=sql, x=x, facts=facts)
    ((result,),) = database.execute(query).fetchall()
    # A column without values fits every type: it counts as text.
    return ColumnStatistics(name=name, type=type_ if result["count"] else "text", **result)


def _find_type(database: Database, cell: str) -> ColumnType:
    """Return the first type that fits every value."""
    for type_, (sql, pattern, _) in _TYPES.items():
        matches = f"regexp_full_match({cell}, '{pattern}')"
        fits = f"{matches} AND TRY_CAST({cell} AS {sql}) IS NOT NULL"
        misfit = f"FROM cells SELECT 1 WHERE {cell} IS NOT NULL AND NOT ({fits}) LIMIT 1"
        if not database.execute(misfit).fetchall():
            return type_
    return "text"
