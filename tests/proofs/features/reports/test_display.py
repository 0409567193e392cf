"""How values are written: readable, and not what a file of a stranger wants to look like."""

import pytest

from app.features.reports.display import file_name, readable, share, time_or_day


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (1234567, "1,234,567"),
        (-(2**63), "-9,223,372,036,854,775,808"),
        (True, "true"),
        (False, "false"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.1 + 0.2, "0.3"),
        (1.0, "1"),
        (100.0, "100"),
        (-1234567.891, "-1,234,568"),
        (0.00012345678, "0.00012346"),
        (0.99999999, "1"),
        (1.5e-7, "1.5e-07"),
        (1.7e308, "1.7e+308"),
        ("a\nb\u202ec", "a\\nb\\u202ec"),
        ("North", "North"),
    ],
)
def test_readable(value: object, text: str) -> None:
    assert readable(value) == text


def test_times_and_days() -> None:
    assert time_or_day("2026-01-31T09:00:00.500000") == "2026-01-31 09:00:00"
    assert time_or_day("2026-01-31") == "2026-01-31"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "0 %"),
        (0, 7, "0 %"),
        (7, 7, "100 %"),
        (1, 3, "33.3 %"),
        (1, 2, "50 %"),
        (1, 1_000_000, "< 0.1 %"),
        (999_999, 1_000_000, "> 99.9 %"),
    ],
)
def test_shares(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("sales.csv", "sales.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\sales.csv", "sales.csv"),
        ("a\0b\r\n\u202e.csv", "a\\x00b\\r\\n\\u202e.csv"),
        ("\ud800.csv", "\\ud800.csv"),
        ("x" * 1000, "x" * 200),
        ("<script>.csv", "<script>.csv"),
        (None, "file"),
        ("", "file"),
        (" ", "file"),
        ("data/", "file"),
    ],
)
def test_file_names(given: str | None, kept: str) -> None:
    assert file_name(given) == kept
