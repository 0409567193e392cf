"""Runs DuckDB on one file: in a thread that can be stopped, in bounded memory, in one folder.

DuckDB works without the interpreter's lock, so requests are answered meanwhile. It is imported by
the first file, in the thread: a service that gets none does without its 16 MB.
"""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .schemas import CsvError, ReportStatistics

if TYPE_CHECKING:
    import duckdb

TIME_LIMIT = 300.0
"""Seconds for one file; 100 MB take about 10."""
TOO_SLOW = f"it took longer than {TIME_LIMIT:.0f} seconds"
_MEMORY_LIMIT = "64MB"
"""Of DuckDB, for one file; what is more goes to the disk."""


async def analyse(path: Path, max_columns: int) -> ReportStatistics:
    """Compute the statistics of a file. Its thread has ended when this ends, however it does.

    Raises CsvError when the file is not acceptable, or takes longer than `TIME_LIMIT`.
    """
    if not await asyncio.to_thread(path.exists):
        msg = "the file is gone; upload it again"
        raise CsvError(msg)
    with TemporaryDirectory(dir=path.parent) as folder:
        database = await asyncio.to_thread(open_database, folder)
        work = asyncio.create_task(
            asyncio.to_thread(_describe, database, path, folder, max_columns)
        )
        try:
            async with asyncio.timeout(TIME_LIMIT):
                return await asyncio.shield(work)
        except TimeoutError:
            raise CsvError(TOO_SLOW) from None
        finally:
            while not work.done():  # more than once: between two statements it stops nothing
                database.interrupt()
                await asyncio.wait([work], timeout=0.05)
            database.close()


def open_database(folder: str) -> "duckdb.DuckDBPyConnection":
    """Open a database in memory that reads and writes this folder only: no network either."""
    import duckdb  # noqa: PLC0415 - see above

    database = duckdb.connect(
        config={
            "threads": 1,  # leave the other cores to the requests
            "memory_limit": _MEMORY_LIMIT,
            "temp_directory": folder,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    database.execute("SET enable_progress_bar = false")  # it would be on standard output
    database.execute("SET allowed_directories = ?", [[folder]])
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def _describe(
    database: "duckdb.DuckDBPyConnection", path: Path, folder: str, max_columns: int
) -> ReportStatistics:
    import duckdb  # noqa: PLC0415 - see above

    from .statistics import describe  # noqa: PLC0415 - it imports DuckDB

    try:
        return describe(database, path, Path(folder), max_columns)
    except (duckdb.OutOfMemoryException, duckdb.TransactionException) as error:
        msg = f"its rows are too large to be computed in {_MEMORY_LIMIT} of memory"
        raise CsvError(msg) from error
