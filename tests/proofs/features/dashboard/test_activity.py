"""The charts: the samples they are made of, and the SVG they become."""

import asyncio
import re
from collections import deque

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.features.dashboard import TEMPLATES
from app.features.dashboard import activity as module
from app.features.dashboard.activity import Chart, draw
from app.tasks import RunnerClosed, Snapshot, TaskRunner, TaskSettings

from .snapshots import snapshot

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, autoescape=True
)
CHARTS = _ENVIRONMENT.get_template("charts.html.j2").make_module({"runs_known": False})
COLUMN = r"M-(\d+),(-?\d+)v-(\d+)h.8v\3z"


def parts(chart: Chart) -> dict[str, list[tuple[int, ...]]]:
    """Return each part's columns as (distance from the right edge, bottom, height)."""
    svg = str(CHARTS.chart("Title", chart, "Summary"))  # type: ignore[attr-defined]  # a macro
    paths_by_class = dict(re.findall(r'<path class="(\w+)" d="([^"]*)"', svg))
    del paths_by_class["grid"]
    for path in paths_by_class.values():
        assert re.fullmatch(rf"\s*(?:{COLUMN}\s*)*".replace(r"\3", r"\d+"), path)
    return {
        label: [(int(x), -int(y), int(height)) for x, y, height in re.findall(COLUMN, path)]
        for label, path in paths_by_class.items()
    }


def test_empty_charts_have_legends_and_no_columns() -> None:
    queue, ended = draw([], snapshot({}))

    assert queue.legend == [(label, 0) for label in ("Urgent", "High", "Normal", "Low", "Idle")]
    assert ended.legend == [("Succeeded", 0), ("Failed", 0)]
    assert (queue.top, ended.top) == (5, 5)
    assert {*map(len, parts(queue).values()), *map(len, parts(ended).values())} == {0}


def test_priorities_are_stacked_in_one_column() -> None:
    queue, _ = draw([snapshot({})], snapshot({0: 1, 2: 1, 3: 3, 9: 5}))

    assert queue.legend == [("Urgent", 2), ("High", 3), ("Normal", 0), ("Low", 0), ("Idle", 5)]
    assert queue.top == 10
    assert parts(queue) == {
        "urgent": [(1, 0, 2)], "high": [(1, 2, 3)], "normal": [], "low": [], "idle": [(1, 5, 5)],
    }  # fmt: skip


def test_chart_scale_includes_the_peak() -> None:
    queue, _ = draw([snapshot({5: depth}) for depth in (1, 40, 2)], snapshot({5: 1}))

    assert queue.top == 50
    assert parts(queue)["normal"] == [(4, 0, 1), (3, 0, 40), (2, 0, 2), (1, 0, 1)]


def test_each_column_counts_tasks_ended_since_the_previous_one() -> None:
    _, ended = draw([snapshot({}, 4, 0), snapshot({}, 4, 1)], snapshot({}, 6, 2))

    assert ended.top == 5
    assert parts(ended) == {
        "succeeded": [(3, 0, 4), (1, 0, 2)],
        "failed": [(2, 0, 1), (1, 2, 1)],
    }


@pytest.mark.parametrize(("samples", "counted"), [(0, 70), (1, 70), (59, 70), (60, 60), (70, 60)])
def test_legend_counts_the_last_ten_minutes(samples: int, counted: int) -> None:
    earlier = deque((snapshot({}, succeeded=n) for n in range(70 - samples, 70)), maxlen=60)
    queue, ended = draw(earlier, snapshot({}, succeeded=70))

    assert ended.legend[0] == ("Succeeded", counted)
    assert len(queue.columns) == len(ended.columns) <= 60


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 5), (5, 5), (6, 10), (11, 20), (21, 50), (10_001, 20_000)]
)
def test_scale_ends_at_a_round_number(highest: int, top: int) -> None:
    assert draw([], snapshot({5: highest}))[0].top == top


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 9), st.integers(0, 10**9)),
            st.integers(0, 10**6),
            st.integers(0, 10**6),
        ),
        min_size=1,
        max_size=100,
    )
)
def test_columns_stay_inside_the_chart_for_any_snapshots(
    values: list[tuple[dict[int, int], int, int]],
) -> None:
    snapshots, succeeded, failed = deque[Snapshot](maxlen=61), 0, 0
    for depth, more_succeeded, more_failed in values:
        succeeded, failed = succeeded + more_succeeded, failed + more_failed
        snapshots.append(snapshot(depth, succeeded, failed))
    now = snapshots.pop()
    for chart in draw(snapshots, now):
        for columns in parts(chart).values():
            for x, y, height in columns:
                assert 1 <= x <= 60
                assert 0 <= y < y + height <= chart.top


class Snapshots(deque[Snapshot]):
    """Sets an event when a snapshot has a succeeded task."""

    ended = asyncio.Event()

    def append(self, snapshot: Snapshot) -> None:
        super().append(snapshot)
        if snapshot.succeeded:
            self.ended.set()


async def test_sampling_waits_until_the_runner_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0)
    snapshots, runner = Snapshots(), TaskRunner(TaskSettings())
    refused, take = asyncio.Event(), runner.snapshot

    def take_or_refuse(limit: int | None = None) -> Snapshot:
        try:
            return take(limit)
        except RunnerClosed:
            refused.set()
            raise

    monkeypatch.setattr(runner, "snapshot", take_or_refuse)
    sampling = asyncio.create_task(module._sample(runner, snapshots))
    async with asyncio.timeout(10):  # sampling goes on although the runner refuses
        await refused.wait()
    async with runner, asyncio.timeout(10):
        runner.submit(print, end="")
        await snapshots.ended.wait()
    sampling.cancel()

    assert snapshots[0].queued == 0
