"""Numbers and times in the form that people read."""

from math import inf
from time import time

import pytest

from app.features.dashboard.view import _percentiles, ago, seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"),
        (0.0042, "4 ms"),
        (1, "1 s"),
        (1.26, "1.3 s"),
        (12.4, "12 s"),
        (90, "90 s"),
        (185.9, "3.1 min"),
        (3600, "60 min"),
        (9600, "2.7 h"),
        (86400 * 3 + 4 * 3600, "3.2 d"),
        (86400 * 1234.0, "1,234 d"),
        (1e10, "no limit"),
        (inf, "no limit"),
    ],
)
def test_seconds_are_shown_in_a_readable_unit(value: float, text: str) -> None:
    assert seconds(value) == text


def test_past_times_are_shown_as_ago() -> None:
    assert ago(time() - 185) == "3.1 min ago"
    assert ago(time() + 100) == "just now"  # the clock of another process is ahead


def test_percentiles_are_shown_as_times() -> None:
    assert _percentiles([]) == ["\N{EN DASH}"] * 2
    assert _percentiles([2.0]) == ["2 s", "2 s"]
    assert _percentiles([float(n) for n in range(1, 101)]) == ["51 s", "96 s"]
