"""Reads a CSV file strictly: every row is understood, or the first bad one is named.

Rows are counted as a spreadsheet does: from 1, with the header and blank lines, and one that is
quoted over several lines is one row.
"""

import csv
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from functools import partial
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

import duckdb

MAX_COLUMNS = 1000
MAX_LINE = 2**18
"""Characters of a line. DuckDB skips a last line that is beyond its buffer, in silence."""
_HEADER_LINES = 20
"""A quote that is not closed would take the whole file for the header."""
_SAMPLE = 2**16
_NULLS = ("", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "NaN", "nan")
_CELL = "if(length({0}) > 200, left({0}, 200) || md5({0}), if({0} IN {1}, NULL, {0}))"
"""A vector of large cells knows no limit of memory."""
_READER = """auto_detect = false, header = false, quote = '"', escape = '"',
    max_line_size = 2097152, buffer_size = 8388608"""


class CsvError(Exception):
    """The file is not acceptable. The message is meant for the person who sent it."""


class CsvFile(NamedTuple):
    """What the header says, and where the rows below it are."""

    names: list[str]
    delimiter: str
    header_rows: int
    rows: Path


def prepare(path: Path, rows: Path) -> CsvFile:
    """Read the header, and copy what is below it: into UTF-8 with plain line ends.

    The file is UTF-8, UTF-16 with a byte order mark, or else what Windows writes in Western Europe.
    Raises CsvError.
    """
    with path.open("rb") as file:
        is_utf16 = file.read(2) in {BOM_UTF16_LE, BOM_UTF16_BE}
    try:
        with path.open(encoding="utf-16" if is_utf16 else "utf-8-sig") as text:
            return _prepare(text, rows)
    except UnicodeDecodeError:
        with path.open(encoding="cp1252", errors="replace") as text:
            return _prepare(text, rows)


def load(database: duckdb.DuckDBPyConnection, file: CsvFile, columns: range) -> None:
    """Make the table `cells` of some columns, which are called c0, c1, ... by their number.

    Spaces around a cell do not count. Raises CsvError for a bad row.
    """
    names = [f"c{number}" for number in columns]
    cells = ", ".join(f"{_CELL.format(f'trim({name})', _NULLS)} AS {name}" for name in names)
    types = {f"c{number}": "VARCHAR" for number in range(len(file.names))}
    rows = f"read_csv($path, {_READER}, delim = $delimiter, columns = $types)"
    given = {"path": str(file.rows), "delimiter": file.delimiter, "types": types}
    try:
        database.execute(f"CREATE OR REPLACE TABLE cells AS FROM {rows} SELECT {cells}", given)
    except duckdb.InvalidInputException as error:
        raise _explain(str(error), file.header_rows) from error


def _explain(error: str, header_rows: int) -> CsvError:
    # "CSV Error on Line: 7", the line, which may say anything, the reason, "Possible fixes:"
    row = header_rows + int(error.partition("CSV Error on Line: ")[2].split()[0])
    reason = error.rpartition("\nPossible fixes:")[0].rstrip().rpartition("\n")[2]
    reason = reason.lower().replace(" found:", ", found").rstrip(".")
    return CsvError(f"row {row:,}: {reason or 'it is larger than 2 MB; is a quote not closed?'}")


def _prepare(text: TextIO, rows: Path) -> CsvFile:
    delimiter = _find_delimiter(text.read(_SAMPLE))
    text.seek(0)
    lines = _lines(text)
    try:
        row, names = _read_header(_cut(islice(lines, _HEADER_LINES), delimiter, strict=True))
    except csv.Error as error:
        msg = f"the header: {error}; are all quotes closed?"
        raise CsvError(msg) from error
    with rows.open("w", encoding="utf-8", newline="") as copy:
        copy.writelines(lines)
    return CsvFile(names, delimiter, row, rows)


def _find_delimiter(sample: str) -> str:
    """Return what cuts the most of the first rows into as many cells as it cuts the header.

    A comma comes last if there are several, since texts and numbers have it too, and first if
    there is none: rows that it cuts are then wrong.
    """

    def agreement(delimiter: str) -> tuple[int, int]:
        widths = [len(row) for row in _cut(StringIO(sample), delimiter) if row]
        width = widths[0] if widths else 0
        return widths.count(width) if width > 1 else int(delimiter == ","), width

    return max(";\t|,", key=agreement)


def _cut(lines: Iterable[str], delimiter: str, *, strict: bool = False) -> Iterator[list[str]]:
    # DuckDB, too, leaves out spaces before a quote.
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=strict)


def _read_header(reader: Iterator[list[str]]) -> tuple[int, list[str]]:
    """Return which row has the names of the columns, and the names."""
    for row, cells in enumerate(reader, 1):
        if len(cells) > MAX_COLUMNS:
            msg = f"{len(cells):,} columns are too many; {MAX_COLUMNS:,} are accepted"
            raise CsvError(msg)
        if cells and cells[0] != "sep=":  # "sep=;" is for Excel
            return row, [cell.strip()[:200] or f"column {n}" for n, cell in enumerate(cells, 1)]
    msg = f"the file is empty, or its first {_HEADER_LINES} lines are"
    raise CsvError(msg)


def _lines(text: TextIO) -> Iterator[str]:
    for number, line in enumerate(iter(partial(text.readline, MAX_LINE + 1), ""), 1):
        if "\0" in line:  # DuckDB takes it for text
            msg = f"line {number:,}: it holds a NUL character; is this a CSV file?"
            raise CsvError(msg)
        if len(line) > MAX_LINE:
            msg = f"line {number:,}: it has more than {MAX_LINE:,} characters"
            raise CsvError(msg)
        yield line
