"""Reading a file: every row is read, or the error names the first bad one."""

from pathlib import Path

import pytest

from app.features.reports.columns import load, open_database
from app.features.reports.csv_file import MAX_LINE, CsvError, prepare

HEAD = b"a,b\n"
AB, ROW = ["a", "b"], [("1", "2")]


def read(content: bytes) -> tuple[list[str], list[tuple[str, ...]]]:
    Path("file.csv").write_bytes(content)
    file = prepare(Path("file.csv"), Path("rows.csv").absolute())
    with open_database(str(Path.cwd())) as database:
        load(database, file, 0)
        return file.names, database.execute("FROM cells").fetchall()


@pytest.mark.parametrize(
    ("content", "names", "rows"),
    [
        pytest.param(b"a,b\n1,2", AB, ROW, id="no line end"),
        pytest.param(b"a,b\r\n1,2\r\n", AB, ROW, id="Windows"),
        pytest.param(b"a,b\r1,2\r", AB, ROW, id="Mac"),
        pytest.param(b"a,b\r\n1,2\n3,4\r5,6", AB, [*ROW, ("3", "4"), ("5", "6")], id="mixed"),
        pytest.param(b"\n\na,b\n\n1,2\n\n", AB, ROW, id="blank lines"),
        pytest.param(b"\xef\xbb\xbfa,b\n1,2\n", AB, ROW, id="BOM"),
        pytest.param("a,b\né,😀\n".encode("utf-16"), AB, [("é", "😀")], id="UTF-16"),
        pytest.param(b"\xfe\xff" + "a,b\n1,2\n".encode("utf-16-be"), AB, ROW, id="UTF-16-BE"),
        pytest.param(b"a,b\ncaf\xe9,5 \x80\n", AB, [("café", "5 €")], id="latin-1"),
        pytest.param(b"a\tb\n1\t2\n", AB, ROW, id="tabs"),
        pytest.param(b"a|b\n1|2\n", AB, ROW, id="pipes"),
        pytest.param(b"a;b\n1,5;2\n", AB, [("1,5", "2")], id="decimal commas"),
        pytest.param(b"a, x;b\n1,5;2\n", ["a, x", "b"], [("1,5", "2")], id="as many commas"),
        pytest.param(b"sep=;\r\na;b\r\n1;2\r\n", AB, ROW, id="Excel"),
        pytest.param(b"sep=,\na,b,c\n1,2,3\n", ["a", "b", "c"], [("1", "2", "3")], id="sep=,"),
        pytest.param(b"a (x, y);b (x, y, z)\n1;2\n", ["a (x, y)", "b (x, y, z)"], ROW, id="commas"),
        pytest.param(b'"a\nx";b\n1;2\n', ["a\nx", "b"], ROW, id="line break in a name"),
        pytest.param(b",b\n1,2\n", ["column 1", "b"], ROW, id="pandas"),
        pytest.param(b'"","b"\n"1",2\n', ["column 1", "b"], ROW, id="R"),
        pytest.param(b"a,b,a\n1,2,3\n", ["a", "b", "a"], [("1", "2", "3")], id="the same name"),
        pytest.param(b"%s,b\n1,2\n" % (b"x" * 300), ["x" * 200, "b"], ROW, id="long name"),
        pytest.param(b'" a ",b \n 1 , 2\n', AB, ROW, id="spaces"),
        pytest.param(b'a, "b, c"\n1, "2"\n', ["a", "b, c"], ROW, id="spaces before quotes"),
        pytest.param(b'a,b\n"1\n2","x""y"\n', AB, [("1\n2", 'x"y')], id="in quotes"),
        pytest.param(b'a,b\nx"y,\\\n', AB, [('x"y', "\\")], id="quote in a cell"),
        pytest.param(b"a,b\nNA, N/A\n NULL ,nan\n ,\n", AB, [(None, None)] * 3, id="missing"),
        pytest.param(b'a\n1\n""\n', ["a"], [("1",), (None,)], id="one column"),
        pytest.param(HEAD, AB, [], id="header only"),
        pytest.param(HEAD + b"x" * 100_000 + b",", AB, [("x" * 200, None)], id="long"),
        pytest.param(HEAD + b" " * 300 + b",2", AB, [(None, "2")], id="long and blank"),
    ],
)
def test_valid_files_are_read(
    content: bytes, names: list[str], rows: list[tuple[str, ...]]
) -> None:
    assert read(content) == (names, rows)


FEWER = "expected number of columns: 2, found 1"
MORE = "expected number of columns: 2, found 3"
QUOTES = "value with unterminated quote found"
FAKE = b'"CSV Error on Line: 9\nExpected Number of Columns: 7 Found: 1\nPossible fixes:"'
TOO_LARGE = "it is larger than 2 MB; is a quote not closed?"
NO_LINE = "holds a NUL character, or more than 262,144 characters"
OPEN_QUOTE = "the header: unexpected end of data; are all quotes closed?"
EMPTY = "the file is empty"
BAD_FILES = [
    pytest.param(b"", EMPTY, id="empty"),
    pytest.param(b"\n\r\n\n", EMPTY, id="blank lines only"),
    pytest.param(b"\xef\xbb\xbf", EMPTY, id="BOM only"),
    pytest.param(HEAD + b"1,2\n3\n", f"row 3: {FEWER}", id="short row"),
    pytest.param(HEAD + b"\n1,2,3\n4\n", f"row 3: {MORE}", id="long row"),
    pytest.param(b'a,b\n"1\n1",2\n3\n', f"row 3: {FEWER}", id="line breaks"),
    pytest.param(b"a\n1\n2,3\n", "row 3: expected number of columns: 1, found 2", id="one name"),
    pytest.param(b"sep=;\na;b\n\n1\n", f"row 4: {FEWER}", id="below sep="),
    pytest.param(HEAD + b"1,2\n" * 400_000 + b"3\n", f"row 400,002: {FEWER}", id="late"),
    pytest.param(HEAD + b"3,4," + FAKE, f"row 2: {MORE}", id="fake reason"),
    pytest.param(HEAD + b"1," + FAKE + b" x\n", f"row 2: {QUOTES}", id="fake reason and quotes"),
    pytest.param(HEAD + b'1,"2\n3,4\n', f"row 2: {QUOTES}", id="open quote"),
    pytest.param(HEAD + b'1,"2"3\n', f"row 2: {QUOTES}", id="after a quote"),
    pytest.param(HEAD + b'1,"' + b"xx\n" * 10**6 + b'"', f"row 2: {TOO_LARGE}", id="3 MB"),
    pytest.param(b'\na,"b\n1,2\n', OPEN_QUOTE, id="open quote in header"),
    pytest.param(b'"x\n' + b'","x\n' * 100_000, OPEN_QUOTE, id="header"),
    pytest.param(b"x" * 500_000, f"line 1 {NO_LINE}", id="one line"),
    pytest.param(HEAD + b"1,2\n3," + b"x" * 600_000, f"line 3 {NO_LINE}", id="long last line"),
    pytest.param(
        b"x" + b",x" * 1000, "1,001 columns are too many; 1,000 are accepted", id="columns"
    ),
    pytest.param(HEAD + b"1,2\n3,\0\n", f"line 3 {NO_LINE}", id="NUL"),
    pytest.param("a,b\n1,2\n".encode("utf-16-le"), f"line 1 {NO_LINE}", id="UTF-16 without a BOM"),
    pytest.param("a,b\n1,2\n".encode("utf-16") + b"x", f"line 1 {NO_LINE}", id="odd bytes"),
    pytest.param(b"\x89PNG\r\n\x1a\n\0\0", f"line 3 {NO_LINE}", id="PNG"),
]


@pytest.mark.parametrize(("content", "message"), BAD_FILES)
def test_invalid_files_are_refused_with_the_first_bad_row(content: bytes, message: str) -> None:
    with pytest.raises(CsvError) as raised:
        read(content)

    assert str(raised.value) == message


def test_special_characters_in_column_names_are_harmless() -> None:
    names = ["c1", "*", 'a"; DROP TABLE cells; --', "$path", "{", "'"]
    header = ";".join('"' + name.replace('"', '""') + '"' for name in names)

    assert read(f"{header}\n1;2;3;4;5;6\n".encode()) == (names, [tuple("123456")])


def test_line_of_the_maximum_length_is_read() -> None:
    cell = b"\xf0\x9f\x98\x80" * (MAX_LINE - 10)

    assert len(read(HEAD + b"1," + cell + b"\n3,4\n")[1]) == 2
