"""The charts: every path is one that a browser can draw, and shows what was given."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.features.dashboard.chart import HEIGHT, WIDTH, ended_chart, queue_chart
from app.features.dashboard.samples import SPAN, Sample

from .snapshots import snapshot

NOW = 10_000.0
BANDS = ["Urgent 0–2", "High 3–4", "Normal 5–6", "Low 7–8", "Idle 9"]  # noqa: RUF001
PATH = re.compile(r"(?:[MVHhz,. ]|-?\d+(?:\.\d+)?)*")


def sample(age: float, depth: Mapping[int, int], succeeded: int = 0, failed: int = 0) -> Sample:
    return Sample(NOW - age, snapshot(depth, succeeded, failed))


def test_nothing_yet() -> None:
    queue, ended = queue_chart([], NOW), ended_chart([], NOW)

    assert [series.label for series in queue.series] == BANDS
    assert {series.path for series in (*queue.series, *ended.series)} == {""}
    assert queue.summary == "Waiting tasks in the last 10 minutes: now 0, at most 0."
    assert ended.summary == "Ended in the last 10 minutes: 0 succeeded, 0 failed."


def test_the_bands_lie_upon_each_other() -> None:
    samples = [sample(300, {}), sample(0, {0: 1, 2: 1, 3: 3, 9: 5})]
    chart = queue_chart(samples, NOW)

    assert chart.top == "10"
    assert [(series.amount, series.path) for series in chart.series] == [
        ("2", "M300,120 600,96 600,120 300,120z"),
        ("3", "M300,120 600,60 600,96 300,120z"),
        ("0", ""),
        ("0", ""),
        ("5", "M300,120 600,0 600,60 300,120z"),
    ]
    assert chart.summary == "Waiting tasks in the last 10 minutes: now 10, at most 10."


def test_a_peak_between_two_points_is_not_lost() -> None:
    samples = [sample(10, {5: 1}), sample(9, {5: 40}), sample(8.1, {5: 2}), sample(0, {5: 1})]
    chart = queue_chart(samples, NOW)

    assert "at most 40" in chart.summary
    assert chart.top == "50"


def test_bars_count_what_ended_between_two_samples() -> None:
    samples = [sample(25, {}, 100, 7), sample(15, {}, 104, 7), sample(5, {}, 104, 8)]
    chart = ended_chart(samples, NOW)

    assert chart.top == "5"
    assert [(series.amount, series.path) for series in chart.series] == [
        ("4", "M580,120V24h8V120z"),
        ("1", "M590,120V96h8V120z"),
    ]


@pytest.mark.parametrize(
    ("highest", "top"), [(0, "5"), (5, "5"), (6, "10"), (11, "20"), (21, "50"), (10_001, "20,000")]
)
def test_the_scale_is_a_round_number(highest: int, top: str) -> None:
    assert queue_chart([sample(0, {5: highest})], NOW).top == top


@given(
    st.lists(
        st.tuples(
            st.floats(0, SPAN),
            st.dictionaries(st.integers(0, 9), st.integers(0, 10**9)),
            st.integers(0, 10**6),
            st.integers(0, 10**6),
        ),
        max_size=50,
    )
)
def test_whatever_the_samples_the_paths_stay_in_the_picture(
    values: list[tuple[float, dict[int, int], int, int]],
) -> None:
    samples, succeeded, failed = [], 0, 0
    for age, depth, more, worse in sorted(values, key=lambda value: -value[0]):
        succeeded, failed = succeeded + more, failed + worse
        samples.append(sample(age, depth, succeeded, failed))
    for chart in (queue_chart(samples, NOW), ended_chart(samples, NOW)):
        for series in chart.series:
            assert PATH.fullmatch(series.path)
            for x, y in re.findall(r"(-?\d+),(-?\d+)", series.path):
                assert 0 <= int(x) <= WIDTH
                assert 0 <= int(y) <= HEIGHT
