"""Numbers and times as people read them."""

from math import inf
from time import time

import pytest

from app.features.dashboard.text import ago, cut, percentiles, rate, seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"),
        (0.0042, "4 ms"),
        (1, "1 s"),
        (1.26, "1.3 s"),
        (12.4, "12 s"),
        (60, "1 min"),
        (185.9, "3 min 5 s"),
        (3600, "1 h"),
        (9600, "2 h 40 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
        (86400 * 1234.0, "1,234 d"),
        (inf, "no limit"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


def test_ago() -> None:
    assert ago(time() - 125) == "2 min 5 s ago"
    assert ago(time() + 100) == "just now"  # the clock of another process


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0/min"), (0.05, "3/min"), (1.26, "1.3/s"), (1234.5, "1,234/s")]
)
def test_rate(value: float, text: str) -> None:
    assert rate(value) == text


def test_percentiles() -> None:
    assert percentiles([], 50, 99) == ["\N{EN DASH}"] * 2
    assert percentiles([2.0], 50, 99) == ["2 s", "2 s"]
    assert percentiles([float(n) for n in range(1, 101)], 50, 95) == ["50 s", "1 min 35 s"]


def test_a_long_name_is_cut() -> None:
    assert cut("x" * 80) == "x" * 80
    assert cut("x" * 81) == "x" * 80 + "…"
