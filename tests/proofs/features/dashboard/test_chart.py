"""The charts: every path is one that a browser can draw, and shows what was given."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.features.dashboard.activity import RecentActivity
from app.features.dashboard.chart import HEIGHT, WIDTH, ended_chart, queue_chart

from .snapshots import snapshot

LABELS = ["Urgent", "High", "Normal", "Low", "Idle"]
PATH = re.compile(r"(?:M\d+,\d+(?: \d+,\d+)+z)?")


def test_nothing_yet() -> None:
    queue, ended = queue_chart([]), ended_chart([])

    assert [label for label, _, _ in queue.bands] == LABELS
    assert {path for _, _, path in (*queue.bands, *ended.bands)} == {""}
    assert queue.summary == "Waiting tasks in the last 10 minutes: now 0, at most 0."
    assert ended.summary == "Ended in the last 10 minutes: 0 succeeded, 0 failed."


def test_the_bands_lie_upon_each_other() -> None:
    chart = queue_chart([snapshot({}), snapshot({0: 1, 2: 1, 3: 3, 9: 5})])

    assert chart.top == 10
    assert chart.bands == [
        ("Urgent", 2, "M598,120 600,96 600,120 598,120z"),
        ("High", 3, "M598,120 600,60 600,96 598,120z"),
        ("Normal", 0, ""),
        ("Low", 0, ""),
        ("Idle", 5, "M598,120 600,0 600,60 598,120z"),
    ]
    assert chart.summary == "Waiting tasks in the last 10 minutes: now 10, at most 10."


def test_a_peak_is_not_lost() -> None:
    chart = queue_chart([snapshot({5: depth}) for depth in (1, 40, 2, 1)])

    assert "now 1, at most 40" in chart.summary
    assert chart.top == 50


def test_each_point_counts_what_ended_in_the_ten_seconds_before() -> None:
    before, after = snapshot({}, 104, 7), snapshot({}, 104, 8)
    chart = ended_chart([snapshot({}, 100, 7), *[before] * 5, after])

    assert chart.top == 5
    assert chart.bands == [
        ("Succeeded", 4, "M598,24 600,120 600,120 598,120z"),
        ("Failed", 1, "M598,24 600,96 600,120 598,24z"),
    ]


@pytest.mark.parametrize("snapshots", [1, 2, 5, 6, 301])
def test_the_legend_counts_all(snapshots: int) -> None:
    chart = ended_chart([snapshot({}, succeeded=n) for n in range(snapshots)])

    assert [number for _, number, _ in chart.bands] == [snapshots - 1, 0]


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 5), (5, 5), (6, 10), (11, 20), (21, 50), (10_001, 20_000)]
)
def test_the_scale_is_a_round_number(highest: int, top: int) -> None:
    assert queue_chart([snapshot({5: highest})]).top == top


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 9), st.integers(0, 10**9)),
            st.integers(0, 10**6),
            st.integers(0, 10**6),
        ),
        max_size=400,
    )
)
def test_whatever_the_snapshots_the_paths_stay_in_the_picture(
    values: list[tuple[dict[int, int], int, int]],
) -> None:
    snapshots, succeeded, failed = RecentActivity().snapshots, 0, 0
    for depth, more, worse in values:
        succeeded, failed = succeeded + more, failed + worse
        snapshots.append(snapshot(depth, succeeded, failed))
    for chart in (queue_chart(list(snapshots)), ended_chart(list(snapshots))):
        for _, _, path in chart.bands:
            assert PATH.fullmatch(path)
            for x, y in re.findall(r"(-?\d+),(-?\d+)", path):
                assert 0 <= int(x) <= WIDTH
                assert 0 <= int(y) <= HEIGHT
