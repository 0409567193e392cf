"""Reads a CSV file strictly: every row is understood, or the first bad one is named.

Rows are counted as a spreadsheet does: from 1, with the header and blank lines, and one that is
quoted over several lines is one row.
"""

import csv
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TextIO

import duckdb

MAX_TEXT = 200
"""Characters that are kept of a cell, and of the name of a column."""

MAX_LINE = 2**18
"""Characters that a line may have; twice as many are always too many."""

_SAMPLE = 2**16
_QUOTES = "a quote is not closed, something follows a closing one, or the row has 2 MB"
_READER = {
    "auto_detect": False,
    "header": False,
    "quote": '"',
    "escape": '"',
    "nullstr": ["", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "NaN", "nan"],
    "max_line_size": 8 * MAX_LINE,  # bytes
    "buffer_size": 32 * MAX_LINE,
}


class CsvError(Exception):
    """The file is not acceptable. The message is meant for the person who sent it."""


@dataclass(frozen=True)
class CsvFile:
    """What the header says, and where the rows below it are."""

    names: list[str]
    delimiter: str
    header_rows: int
    rows: Path

    def load(self, database: duckdb.DuckDBPyConnection, columns: range) -> None:
        """Make the table `cells` of some columns, which are called c0, c1, ... by their number.

        Spaces around a cell do not count. Null is what is empty or says so, such as NA.
        Raises CsvError for a bad row.
        """
        cells = (f"left(nullif(trim(c{n}), ''), {MAX_TEXT + 1}) AS c{n}" for n in columns)
        types = {f"c{number}": "VARCHAR" for number in range(len(self.names))}
        options = {**_READER, "columns": types, "delim": self.delimiter}
        settings = ", ".join(f"{name} = ${name}" for name in options)
        try:
            database.execute(
                f"CREATE OR REPLACE TABLE cells AS FROM read_csv($path, {settings}) "
                f"SELECT {', '.join(cells)}",
                {"path": str(self.rows), **options},
            )
        except duckdb.InvalidInputException as error:
            raise self._explain(str(error)) from error

    def _explain(self, error: str) -> CsvError:
        # "CSV Error on Line: 7", the line, which may say anything, the reason, "Possible fixes:"
        row = self.header_rows + int(error.partition("CSV Error on Line: ")[2].split()[0])
        reason = error.rpartition("\nPossible fixes:")[0].rstrip().rpartition("\n")[2]
        widths = re.match(r"Expected Number of Columns: (\d+) Found: (\d+)", reason)
        if widths is None:
            return _bad_row(row, _QUOTES)
        more = "more" if int(widths[2]) > int(widths[1]) else "fewer"
        return _bad_row(row, f"it has {more} cells than the header, which has {widths[1]}")


def prepare(path: Path, rows: Path, max_columns: int) -> CsvFile:
    """Read the header, and copy what is below it: into UTF-8 with plain line ends.

    The file is UTF-8, UTF-16 with a byte order mark, or else what Windows writes in Western Europe.
    Raises CsvError.
    """
    with path.open("rb") as file:
        is_utf16 = file.read(2) in {BOM_UTF16_LE, BOM_UTF16_BE}
    try:
        with path.open(encoding="utf-16" if is_utf16 else "utf-8-sig") as text:
            return _prepare(text, rows, max_columns)
    except UnicodeDecodeError:
        with path.open(encoding="cp1252", errors="replace") as text:
            return _prepare(text, rows, max_columns)


def _prepare(text: TextIO, rows: Path, max_columns: int) -> CsvFile:
    delimiter = _find_delimiter(text.read(_SAMPLE))
    text.seek(0)
    reader = csv.reader(_lines(text), delimiter=delimiter, strict=True)
    names, row = _read_header(reader)
    if len(names) > max_columns:
        raise _bad_row(row, f"{len(names):,} columns are too many; {max_columns:,} are accepted")
    _copy(text, rows, reader.line_num + 1)
    return CsvFile(names, delimiter, row, rows)


def _find_delimiter(sample: str) -> str:
    """Return what cuts the most of the first rows into as many cells as it cuts the header.

    A comma comes last if there are several, since texts and numbers have it too, and first if
    there is none: rows that it cuts are then wrong.
    """

    def agreement(delimiter: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(StringIO(sample), delimiter=delimiter) if row]
        width = widths[0] if widths else 0
        return widths.count(width) if width > 1 else int(delimiter == ","), width

    return max(";\t|,", key=agreement)


def _read_header(reader: Iterator[list[str]]) -> tuple[list[str], int]:
    """Return the names of the columns, and which row has them."""
    row = 0
    try:
        for row, cells in enumerate(reader, 1):
            if cells and cells[0] != "sep=":  # "sep=;" is for Excel
                names = (cell.strip()[:MAX_TEXT] for cell in cells)
                return [name or f"column {n}" for n, name in enumerate(names, 1)], row
    except csv.Error as error:
        raise _bad_row(row + 1, _QUOTES) from error
    msg = "the file is empty"
    raise CsvError(msg)


def _lines(text: TextIO) -> Iterator[str]:
    for number, line in enumerate(iter(partial(text.readline, MAX_LINE), ""), 1):
        _check(line, number)
        yield line


def _copy(text: TextIO, rows: Path, line: int) -> None:
    with rows.open("w", encoding="utf-8", newline="") as copy:
        for chunk in iter(partial(text.read, MAX_LINE), ""):
            _check(chunk, line)
            copy.write(chunk)
            line += chunk.count("\n")


def _check(text: str, line: int) -> None:
    """Refuse what DuckDB would take for text, and what it would skip: a line beyond its buffer."""
    if "\0" in text:
        line += text.count("\n", 0, text.index("\0"))
        msg = f"line {line:,}: it holds a NUL character; is this a CSV file?"
        raise CsvError(msg)
    if len(text) == MAX_LINE and "\n" not in text:
        msg = f"line {line:,}: it has more than {MAX_LINE:,} characters"
        raise CsvError(msg)


def _bad_row(row: int, reason: str) -> CsvError:
    return CsvError(f"row {row:,}: {reason}")
