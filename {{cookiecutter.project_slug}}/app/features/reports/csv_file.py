"""Reads a CSV file strictly: every row is understood, or the first bad one is named."""

import csv
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TextIO

MAX_CELL = 131_072
"""Characters in a cell; the csv module's own limit."""

MAX_NAME = 200
"""Characters in the name of a column."""

_MAX_LINE = 8 * 1024 * 1024
"""Characters read at once: a file without a line end must not fill the memory."""

_CELLS_PER_BATCH = 50_000

_UNREADABLE = re.compile("[\0\ud800-\udfff]")
_QUOTED = re.compile('"[^"]*"')

Row = list[str]


class CsvError(Exception):
    """The file is not acceptable. The message is meant for the person who sent it."""


class CsvReader:
    """The rows of a file below its header, which names the columns.

    Rows are counted from 1 as a spreadsheet does, the header and blank lines included. Blank
    lines are skipped. Cells are given as they stand in the file.
    """

    def __init__(self, text: TextIO, max_columns: int) -> None:
        """Read the header; raise CsvError if it is not one."""
        delimiter = _delimiter(text)
        lines = iter(partial(text.readline, _MAX_LINE), "")
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)
        self._row = 0
        self.names = self._read_header(max_columns)

    def batches(self) -> Iterator[list[Row]]:
        """Give the rows in lists, each row with one cell for each name.

        Raises CsvError, also when there is no row at all.
        """
        width = len(self.names)
        empty = True
        while rows := self._read(max(1, _CELLS_PER_BATCH // width), width):
            if complete := [row for row in rows if row] if [] in rows else rows:
                empty = False
                yield complete
        if empty:
            msg = "the file has a header and no rows"
            raise CsvError(msg)

    def _read_header(self, max_columns: int) -> Row:
        while rows := self._read(1):
            if rows[0]:
                return _check_names([name.strip() for name in rows[0]], self._row, max_columns)
        msg = "the file is empty"
        raise CsvError(msg)

    def _read(self, count: int, width: int | None = None) -> list[Row]:
        """Return up to `count` rows, none at the end; blank lines are empty rows."""
        rows: list[Row] = []
        try:
            rows.extend(islice(self._reader, count))
        except (csv.Error, UnicodeDecodeError) as error:
            # What was read before it is in the list, and may hold an earlier mistake.
            _check_rows(rows, self._row + 1, width)
            raise _bad_row(self._row + len(rows) + 1, _reason(error)) from error
        _check_rows(rows, self._row + 1, width)
        self._row += len(rows)
        return rows


@contextmanager
def open_csv(path: Path, max_columns: int) -> Iterator[CsvReader]:
    """Open a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Raises CsvError, as everything that reads from the result does.
    """
    with path.open("rb") as file:
        is_utf16 = file.read(2) in {BOM_UTF16_LE, BOM_UTF16_BE}
    # Bytes that are not UTF-8 become lone surrogates: the reader goes on to the end of the row
    # and can name it. Failing at once would only tell the position in a buffer.
    encoding, errors = ("utf-16", "strict") if is_utf16 else ("utf-8-sig", "surrogateescape")
    with path.open(encoding=encoding, errors=errors, newline="") as text:
        yield CsvReader(text, max_columns)


def _delimiter(text: TextIO) -> str:
    """Find out what separates the cells: the most frequent of , ; and tab in the first line."""
    try:
        line = _QUOTED.sub("", text.readline(_MAX_LINE))
    except UnicodeDecodeError as error:
        raise _bad_row(1, _reason(error)) from error
    text.seek(0)
    return max(",;\t", key=line.count)


def _check_rows(rows: list[Row], first: int, width: int | None) -> None:
    """Raise CsvError for the first row that is not blank, readable and `width` cells wide."""
    # Almost always all is well, which a few calls can tell for the whole batch.
    widths = {0, width} if width else set(map(len, rows))
    if widths.issuperset(map(len, rows)) and not _UNREADABLE.search("".join(map("".join, rows))):
        return
    for number, row in enumerate(rows, first):
        if len(row) not in widths:
            msg = f"the number of cells is {len(row):,}; in the header it is {width:,}"
            raise _bad_row(number, msg)
        if found := _UNREADABLE.search("".join(row)):
            nul = found.group() == "\0"
            raise _bad_row(number, "it holds a NUL character" if nul else "it is not UTF-8 text")


def _check_names(names: Row, row: int, max_columns: int) -> Row:
    if len(names) > max_columns:
        msg = f"{len(names):,} columns are too many; up to {max_columns:,} are accepted"
        raise _bad_row(row, msg)
    for number, name in enumerate(names, 1):
        if not name:
            msg = f"column {number} has no name"
            raise _bad_row(row, msg)
        if len(name) > MAX_NAME:
            msg = f"the name of column {number} is longer than {MAX_NAME} characters"
            raise _bad_row(row, msg)
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        msg = f"{count} columns have the name {name!r}"
        raise _bad_row(row, msg)
    return names


def _bad_row(row: int, reason: str) -> CsvError:
    return CsvError(f"row {row:,}: {reason}")


def _reason(error: csv.Error | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-16 text"
    message = str(error)
    if "field limit" in message:
        return f"a cell has more than {MAX_CELL:,} characters; is a quote not closed?"
    if "unexpected end" in message:
        return "a quote is opened and never closed"
    return "something stands between a closing quote and the end of the cell"
