"""Reading: every row is understood, or the first bad one is named."""

from pathlib import Path

import pytest

from app.features.reports import csv_file
from app.features.reports.csv_file import CsvError, open_csv

HEAD = b"a,b\n"


def read(content: bytes, max_columns: int = 1000) -> tuple[list[str], list[list[str]]]:
    path = Path("file.csv")
    path.write_bytes(content)
    with open_csv(path, max_columns) as reader:
        return reader.names, [row for batch in reader.batches() for row in batch]


@pytest.mark.parametrize(
    ("content", "names", "rows"),
    [
        pytest.param(b"a,b\n1,2", ["a", "b"], [["1", "2"]], id="no line end"),
        pytest.param(b"a,b\r\n1,2\r\n", ["a", "b"], [["1", "2"]], id="CRLF"),
        pytest.param(b"a,b\r1,2\r", ["a", "b"], [["1", "2"]], id="CR"),
        pytest.param(b"\n\na,b\n\n1,2\n\n", ["a", "b"], [["1", "2"]], id="blank lines"),
        pytest.param(b"\xef\xbb\xbfa,b\n1,2\n", ["a", "b"], [["1", "2"]], id="BOM"),
        pytest.param("a,b\né,2\n".encode("utf-16"), ["a", "b"], [["é", "2"]], id="UTF-16"),
        pytest.param("a\tb\n1\t😀\n".encode("utf-16"), ["a", "b"], [["1", "😀"]], id="Excel"),
        pytest.param(
            b"\xfe\xff" + "a,b\n1,2\n".encode("utf-16-be"), ["a", "b"], [["1", "2"]], id="UTF-16-BE"
        ),
        pytest.param(b"a;b\n1,5;2\n", ["a", "b"], [["1,5", "2"]], id="semicolons"),
        pytest.param(b'"a,x,y";b\n1;2\n', ["a,x,y", "b"], [["1", "2"]], id="quoted commas"),
        pytest.param(b'" a ",b \n 1 ,2\n', ["a", "b"], [[" 1 ", "2"]], id="white space"),
        pytest.param(b'a,b\n"1\n2","x""y"\n', ["a", "b"], [["1\n2", 'x"y']], id="in quotes"),
        pytest.param(b'a,b\nx"y,2\n', ["a", "b"], [['x"y', "2"]], id="quote in a cell"),
        pytest.param(b'a\n1\n\n""\n', ["a"], [["1"], [""]], id="one column"),
        pytest.param(b"a,b\n,\n", ["a", "b"], [["", ""]], id="empty cells"),
        pytest.param(HEAD + b"x" * 131_072 + b",", ["a", "b"], [["x" * 131_072, ""]], id="long"),
    ],
)
def test_good_files(content: bytes, names: list[str], rows: list[list[str]]) -> None:
    assert read(content) == (names, rows)


BAD_FILES = [
    pytest.param(b"", "the file is empty", id="empty"),
    pytest.param(b"\n\r\n\n", "the file is empty", id="blank lines only"),
    pytest.param(b"\xef\xbb\xbf", "the file is empty", id="BOM only"),
    pytest.param(HEAD, "the file has a header and no rows", id="header only"),
    pytest.param(
        HEAD + b"1,2\n3\n", "row 3: the number of cells is 1; in the header it is 2", id="short row"
    ),
    pytest.param(
        HEAD + b"\n1,2,3\n", "row 3: the number of cells is 3; in the header it is 2", id="long row"
    ),
    pytest.param(
        b'a,b\n"1\n1",2\n3\n', "row 3: the number of cells is 1; in the header it is 2", id="lines"
    ),
    pytest.param(
        HEAD + b'1\n1,"2', "row 2: the number of cells is 1; in the header it is 2", id="first"
    ),
    pytest.param(b"a,b,a\n1,2,3\n", "row 1: 2 columns have the name 'a'", id="duplicate header"),
    pytest.param(b"\na, \n1,2\n", "row 2: column 2 has no name", id="empty header"),
    pytest.param(
        b"a," + b"x" * 201 + b"\n1,2\n",
        "row 1: the name of column 2 is longer than 200 characters",
        id="long header",
    ),
    pytest.param(
        b"x" + b",x" * 999_999 + b"\n1\n",
        "row 1: 1,000,000 columns are too many; up to 1,000 are accepted",
        id="a million columns",
    ),
    pytest.param(
        HEAD + b'1,"2\n3,4\n', "row 2: a quote is opened and never closed", id="open quote"
    ),
    pytest.param(
        HEAD + b'1,"2"3\n',
        "row 2: something stands between a closing quote and the end of the cell",
        id="after a quote",
    ),
    pytest.param(
        HEAD + b"1," + b"x" * 200_000 + b"\n",
        "row 2: a cell has more than 131,072 characters; is a quote not closed?",
        id="200 kB cell",
    ),
    pytest.param(HEAD + b"1,\0\n", "row 2: it holds a NUL character", id="NUL"),
    pytest.param("a,b\n1,2\n".encode("utf-16-le"), "row 1: it holds a NUL character", id="no BOM"),
    pytest.param(HEAD + b"1,2\n\n3,caf\xe9\n4,5\n", "row 4: it is not UTF-8 text", id="latin-1"),
    pytest.param(b"caf\xe9,b\n1,2\n", "row 1: it is not UTF-8 text", id="latin-1 header"),
    pytest.param(HEAD + b"1,\xed\xa0\x80\n", "row 2: it is not UTF-8 text", id="lone surrogate"),
    pytest.param(b"\x89PNG\r\n\x1a\n\0\0", "row 1: it is not UTF-8 text", id="PNG"),
    pytest.param(
        "a,b\n1,2\n".encode("utf-16") + b"x", "row 3: it is not UTF-16 text", id="odd bytes"
    ),
    pytest.param(b"\xff\xfea", "row 1: it is not UTF-16 text", id="odd bytes in the header"),
]


@pytest.mark.parametrize(("content", "message"), BAD_FILES)
def test_bad_files(content: bytes, message: str) -> None:
    with pytest.raises(CsvError) as raised:
        read(content)

    assert str(raised.value) == message


def test_utf_16_that_breaks_off_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_CELLS_PER_BATCH", 2)
    content = "a,b\n".encode("utf-16") + "1,2\n".encode("utf-16-le") * 10_000 + b"x"

    with pytest.raises(CsvError, match=r"row [\d,]+: it is not UTF-16 text"):
        read(content)


@pytest.mark.parametrize("size", [1, 2, 4, 6, 1000])
def test_rows_are_counted_across_batches(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(csv_file, "_CELLS_PER_BATCH", size)

    with pytest.raises(CsvError, match=r"^row 7: the number of cells is 3; in the header it is 2$"):
        read(HEAD + b"1,2\n\n3,4\n\n5,6\n7,8,9\n")


def test_blank_lines_at_the_end_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_CELLS_PER_BATCH", 2)

    assert read(HEAD + b"1,2\n\n\n3,4\n\n")[1] == [["1", "2"], ["3", "4"]]


def test_a_file_without_a_line_end_is_not_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_MAX_LINE", 1000)

    with pytest.raises(CsvError, match="row 1: 501 columns are too many"):
        read(b"x," * 1_000_000, max_columns=500)
