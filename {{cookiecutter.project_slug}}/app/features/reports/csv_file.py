"""Converts an uploaded file for DuckDB, and finds its delimiter and the names of its columns."""

import csv
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from io import StringIO
from pathlib import Path
from typing import NamedTuple, TextIO

MAX_COLUMNS = 1000
MAX_LINE = 2**18
"""Characters of a line. DuckDB silently skips a last line that is larger than its buffer."""
_SAMPLE = 2**16
"""Characters at the start, which must contain the header and reveal the delimiter."""


class CsvError(Exception):
    """The file is not acceptable. The message is meant for the person who uploaded it."""


class CsvFile(NamedTuple):
    """A file in UTF-8 with plain line ends."""

    path: Path
    delimiter: str
    header_row: int
    """Counted from 1 as in a spreadsheet, where a quoted cell of several lines is in one row."""
    names: list[str]


def prepare(path: Path, copy: Path) -> CsvFile:
    """Copy a file, which is read as UTF-8, UTF-16 or otherwise Windows-1252, as UTF-8.

    Raises CsvError.
    """
    for encoding in ("utf-8-sig", "utf-16"):
        with suppress(UnicodeError):
            return _prepare(path, copy, encoding, "strict")
    return _prepare(path, copy, "cp1252", "replace")


def _prepare(path: Path, copy: Path, encoding: str, errors: str) -> CsvFile:
    with path.open(encoding=encoding, errors=errors) as text:
        sample = text.read(_SAMPLE)
        text.seek(0)
        with copy.open("w", encoding="utf-8", newline="") as target:
            target.writelines(_lines(text))
    delimiter = _find_delimiter(sample)
    return CsvFile(copy, delimiter, *_read_header(sample, delimiter))


def _lines(text: TextIO) -> Iterator[str]:
    for number, line in enumerate(iter(partial(text.readline, MAX_LINE + 1), ""), 1):
        if "\0" in line or len(line) > MAX_LINE:
            msg = f"line {number:,} holds a NUL character, or more than {MAX_LINE:,} characters"
            raise CsvError(msg)
        yield line


def _find_delimiter(sample: str) -> str:
    """Return the delimiter that gives the most rows as many cells as the header.

    A comma loses a tie, since texts and numbers contain commas, too. It is also the delimiter of a
    file with one column, in which a row with a comma is an error.
    """

    def agreement(delimiter: str) -> int:
        widths = [len(row) for row in _read_rows(sample, delimiter) if row]
        return widths.count(widths[0]) if widths and widths[0] > 1 else int(delimiter == ",")

    return max(";\t|,", key=agreement)


def _read_header(sample: str, delimiter: str) -> tuple[int, list[str]]:
    """Return the number of the header row, and the names of the columns."""
    try:
        for row, cells in enumerate(_read_rows(sample, delimiter, strict=True), 1):
            if len(cells) > MAX_COLUMNS:
                msg = f"{len(cells):,} columns are too many; {MAX_COLUMNS:,} are accepted"
                raise CsvError(msg)
            if cells and cells[0] != "sep=":  # "sep=;" is a hint for Excel
                return row, [cell.strip()[:200] or f"column {n}" for n, cell in enumerate(cells, 1)]
    except csv.Error as error:
        msg = f"the header: {error}; are all quotes closed?"
        raise CsvError(msg) from error
    msg = "the file is empty"
    raise CsvError(msg)


def _read_rows(sample: str, delimiter: str, *, strict: bool = False) -> Iterator[list[str]]:
    # DuckDB ignores spaces before a quote, too.
    return csv.reader(StringIO(sample), delimiter=delimiter, skipinitialspace=True, strict=strict)
