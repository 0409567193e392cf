"""Runs DuckDB on one file: in a thread that can be stopped, in bounded memory, locked in a folder.

DuckDB does its work without the interpreter's lock, so requests are answered meanwhile.
"""

import asyncio
import contextlib
import shutil
from pathlib import Path

import duckdb

from .csv_file import CsvError, prepare
from .schemas import ReportStatistics
from .statistics import describe

TIME_LIMIT = 300.0
"""Seconds for one file; 100 MB take about 10."""

_MEMORY_LIMIT = "64MB"
"""Of DuckDB, for one file; what is more goes to the disk."""


async def analyse(path: Path, max_columns: int) -> ReportStatistics:
    """Compute the statistics of a file.

    Raises CsvError when the file is not acceptable, and TimeoutError after `TIME_LIMIT` seconds.
    The thread has ended then, and after a cancellation.
    """
    opened: list[duckdb.DuckDBPyConnection] = []
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(None, _analyse, path, max_columns, opened)
    try:
        async with asyncio.timeout(TIME_LIMIT):
            await asyncio.wait([work])
    finally:
        while not work.done():  # more than once: between two statements it interrupts nothing
            with contextlib.suppress(IndexError, duckdb.ConnectionException):
                opened[0].interrupt()
            await asyncio.wait([work], timeout=0.05)
        error = work.exception()
    if error:
        raise error
    return work.result()


def _analyse(
    path: Path, max_columns: int, opened: list[duckdb.DuckDBPyConnection]
) -> ReportStatistics:
    folder = path.with_suffix(".work")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        file = prepare(path, folder / "file.csv", max_columns)
        with open_database(folder) as database:
            opened.append(database)
            return describe(database, file)
    except FileNotFoundError as error:
        msg = "the file is gone; upload it again"
        raise CsvError(msg) from error
    except (duckdb.OutOfMemoryException, duckdb.TransactionException) as error:
        msg = f"its rows are too large to be computed in {_MEMORY_LIMIT} of memory"
        raise CsvError(msg) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def open_database(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open a database that reads and writes this folder only: no other file, no network."""
    database = duckdb.connect(
        config={
            "threads": 1,  # leave the other cores to the requests
            "memory_limit": _MEMORY_LIMIT,
            "temp_directory": str(folder),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    database.execute("SET enable_progress_bar = false")
    database.execute("SET allowed_directories = ?", [[str(folder)]])
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database
