"""Runs the worker: a process that reads one file, so that this one does not have to.

A thread would do, too, but a process can be stopped (time limit, shutdown), gives all its memory
back, takes nothing else with it when it runs out of some, and leaves the interpreter's lock to
the requests. It costs about 0.4 seconds a file.
"""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from subprocess import PIPE

from .csv_file import CsvError
from .schemas import ReportStatistics

TIME_LIMIT = 300.0
"""Seconds for one file; 100 MB take about 10."""

_ROOT = Path(__file__).parents[3]
_WORKER = f"{__package__}.worker"
WORKER_ENVIRONMENT = {
    "POLARS_MAX_THREADS": "1",  # leave the other cores to the requests
    "POLARS_OOC_MEMORY_BUDGET_MB": "16",  # what is more than that is sorted on disk
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0",  # free memory at once
}


class WorkerError(Exception):
    """The worker did not end as it should: a bug, or it was killed."""


async def analyse(path: Path, max_columns: int) -> ReportStatistics:
    """Compute the statistics of a file.

    Raises CsvError when the file is not acceptable, TimeoutError after `TIME_LIMIT` seconds, and
    WorkerError.
    """
    folder = path.with_suffix(".work")
    if not await asyncio.to_thread(path.exists):
        msg = "the file is gone; upload it again"
        raise CsvError(msg)
    folder.mkdir(exist_ok=True)
    try:
        async with asyncio.timeout(TIME_LIMIT):
            output = await _run(path, folder, max_columns)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    answer = json.loads(output)
    if "problem" in answer:
        raise CsvError(answer["problem"])
    return ReportStatistics.model_validate(answer)


async def _run(path: Path, folder: Path, max_columns: int) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", _WORKER, path, folder, str(max_columns)),
        cwd=_ROOT,
        env=os.environ | WORKER_ENVIRONMENT | {"POLARS_OOC_SPILL_DIR": str(folder)},
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,  # Ctrl-C is for the service, which lets its tasks end
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    if process.returncode:
        last_words = errors.decode(errors="replace").strip()[-2000:]
        msg = f"the worker ended with status {process.returncode}: {last_words}"
        raise WorkerError(msg)
    return output
