"""Runs DuckDB on one file: in a thread that can be stopped, in bounded memory, in one folder.

DuckDB works without the interpreter's lock, so requests are answered meanwhile.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from .schemas import ReportStatistics
from .statistics import describe

MEMORY_LIMIT = "64MB"
"""Of DuckDB, for one file; what is more goes to the disk."""


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


def open_database(folder: str) -> duckdb.DuckDBPyConnection:
    """Open a database in memory that reads and writes this folder only: no network either."""
    database = duckdb.connect(
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
