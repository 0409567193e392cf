"""The geometry of the histograms: every bar inside, as high as what it stands for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.features.reports.charts import HEIGHT, WIDTH, Chart, draw_histogram
from app.features.reports.schemas import ColumnStatistics, Histogram


def draw(type_: Any, edges: list[Any], counts: list[int], below: int = 0, above: int = 0) -> Chart:
    column = ColumnStatistics(
        name="x",
        type=type_,
        count=sum(counts),
        nulls=0,
        distinct=1,
        top=[],
        histogram=Histogram(edges=edges, counts=counts, below=below, above=above),
    )
    chart = draw_histogram(column)
    assert chart is not None
    return chart


def labels(chart: Chart) -> list[str]:
    return [bar.label for bar in chart.bars]


def test_no_histogram_no_chart() -> None:
    column = ColumnStatistics(name="x", type="text", count=0, nulls=1, distinct=0, top=[])

    assert draw_histogram(column) is None


def test_heights() -> None:
    chart = draw("integer", [1, 2, 3, 4, 4], [2, 0, 4, 1])

    assert [bar.height for bar in chart.bars] == [HEIGHT / 2, 0, HEIGHT, HEIGHT / 4]
    assert [bar.y for bar in chart.bars] == [HEIGHT / 2, HEIGHT, 0, 3 * HEIGHT / 4]
    assert (chart.highest.label, chart.first, chart.last) == ("3", "1", "4")
    assert draw("integer", [1, 2, 2], [1, 5_000_000]).bars[0].height >= 1  # it can be seen


@pytest.mark.parametrize(
    ("type_", "edges", "expected"),
    [
        ("integer", [1, 2, 2], ["1", "2"]),
        ("integer", [1, 11, 18], ["1 to 10", "11 to 18"]),
        ("number", [0.0, 0.5, 1.0], ["0 to 0.5", "0.5 to 1"]),
        (
            "date",
            ["2026-01-01", "2026-02-01", "2026-02-20"],
            ["2026-01-01 to 2026-01-31", "2026-02-01 to 2026-02-20"],
        ),
        ("date", ["9999-12-30", "9999-12-31", "9999-12-31"], ["9999-12-30", "9999-12-31"]),
        (
            "datetime",
            ["2026-01-01T00:00:00", "2026-01-01T12:00:00.500000", "2026-01-01T23:59:59"],
            [
                "2026-01-01 00:00:00 to 2026-01-01 12:00:00",
                "2026-01-01 12:00:00 to 2026-01-01 23:59:59",
            ],
        ),
    ],
)
def test_labels(type_: str, edges: list[Any], expected: list[str]) -> None:
    assert labels(draw(type_, edges, [1, 1])) == expected


def test_outliers_stand_apart_at_both_ends() -> None:
    chart = draw("integer", [1, 2, 2], [6, 5], below=1, above=30)

    assert labels(chart) == ["below 1", "1", "2", "above 2"]
    assert [bar.is_outlier for bar in chart.bars] == [True, False, False, True]
    assert chart.highest.label == "1"


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
)
def test_every_bar_is_inside(counts: list[int], below: int, above: int) -> None:
    chart = draw("integer", list(range(len(counts) + 1)), counts, below, above)

    assert len(chart.bars) == len(counts) + (below > 0) + (above > 0)
    ends = [0.0]
    for bar in chart.bars:
        assert ends[-1] - 0.2 <= bar.x
        assert 0 <= bar.y <= bar.y + bar.height <= HEIGHT + 0.1
        ends.append(bar.x + bar.width)
    assert ends[-1] <= WIDTH + 0.1
