"""The process that reads one file: `python -m app.features.reports.worker FILE FOLDER COLUMNS`.

Prints the statistics, or the problem of the file, as JSON.
"""

import gc
import json
import os
import sys
from pathlib import Path

from .csv_file import CsvError, open_csv


def main(path: str, folder: str, max_columns: str) -> None:
    """Read the file at `path`, using `folder` for temporary files."""
    try:
        with open_csv(Path(path), int(max_columns)) as reader:
            # Loading polars takes most of the start: only for a file that has a good header.
            from .statistics import describe  # noqa: PLC0415

            answer = describe(reader, Path(folder))
    except CsvError as error:
        answer = {"problem": str(error)}
    json.dump(answer, sys.stdout, allow_nan=False)


if __name__ == "__main__":
    if hasattr(os, "nice"):  # not on Windows
        os.nice(10)  # requests go first
    gc.disable()  # nothing here makes cycles, and looking for some would double the time
    main(*sys.argv[1:])
