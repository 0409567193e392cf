"""The charts: what is remembered for them, and that a browser can draw them."""

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

COLUMN = r"M-(\d+),(-?\d+)v-(\d+)h.8v\3z"


def paths(chart: Chart) -> dict[str, list[tuple[int, ...]]]:
    """Return for each part its columns: how far from the right edge, bottom, height."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, autoescape=True
    )
    template = environment.get_template("charts.html.j2").make_module({"runs_known": False})
    svg = str(template.chart("Title", chart, "Summary"))  # type: ignore[attr-defined]  # a macro
    found = dict(re.findall(r'<path class="(\w+)" d="([^"]*)"', svg))
    del found["grid"]
    for path in found.values():
        assert re.fullmatch(rf"\s*(?:{COLUMN}\s*)*".replace(r"\3", r"\d+"), path)
    return {
        label: [(int(x), -int(y), int(height)) for x, y, height in re.findall(COLUMN, path)]
        for label, path in found.items()
    }


def test_nothing_yet() -> None:
    queue, ended = draw([], snapshot({}))

    assert queue.legend == [(label, 0) for label in ("Urgent", "High", "Normal", "Low", "Idle")]
    assert ended.legend == [("Succeeded", 0), ("Failed", 0)]
    assert (queue.top, ended.top) == (5, 5)
    assert {*map(len, paths(queue).values()), *map(len, paths(ended).values())} == {0}


def test_the_parts_lie_upon_each_other() -> None:
    queue, _ = draw([snapshot({})], snapshot({0: 1, 2: 1, 3: 3, 9: 5}))

    assert queue.legend == [("Urgent", 2), ("High", 3), ("Normal", 0), ("Low", 0), ("Idle", 5)]
    assert queue.top == 10
    assert paths(queue) == {
        "urgent": [(1, 0, 2)], "high": [(1, 2, 3)], "normal": [], "low": [], "idle": [(1, 5, 5)],
    }  # fmt: skip


def test_a_peak_is_not_lost() -> None:
    queue, _ = draw([snapshot({5: depth}) for depth in (1, 40, 2)], snapshot({5: 1}))

    assert queue.top == 50
    assert paths(queue)["normal"] == [(4, 0, 1), (3, 0, 40), (2, 0, 2), (1, 0, 1)]


def test_each_column_counts_what_ended_since_the_one_before() -> None:
    _, ended = draw([snapshot({}, 4, 0), snapshot({}, 4, 1)], snapshot({}, 6, 2))

    assert ended.top == 5
    assert paths(ended) == {
        "succeeded": [(3, 0, 4), (1, 0, 2)],
        "failed": [(2, 0, 1), (1, 2, 1)],
    }


@pytest.mark.parametrize(("taken", "counted"), [(0, 70), (1, 70), (59, 70), (60, 60), (70, 60)])
def test_the_legend_counts_ten_minutes(taken: int, counted: int) -> None:
    earlier = deque((snapshot({}, succeeded=n) for n in range(70 - taken, 70)), maxlen=60)
    queue, ended = draw(earlier, snapshot({}, succeeded=70))

    assert ended.legend[0] == ("Succeeded", counted)
    assert len(queue.columns) == len(ended.columns) <= 60


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 5), (5, 5), (6, 10), (11, 20), (21, 50), (10_001, 20_000)]
)
def test_the_scale_is_a_round_number(highest: int, top: int) -> None:
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
def test_whatever_the_snapshots_the_columns_stay_in_the_picture(
    values: list[tuple[dict[int, int], int, int]],
) -> None:
    snapshots, succeeded, failed = deque[Snapshot](maxlen=61), 0, 0
    for depth, more, worse in values:
        succeeded, failed = succeeded + more, failed + worse
        snapshots.append(snapshot(depth, succeeded, failed))
    now = snapshots.pop()
    for chart in draw(snapshots, now):
        for columns in paths(chart).values():
            for x, y, height in columns:
                assert 1 <= x <= 60
                assert 0 <= y < y + height <= chart.top


class Snapshots(deque[Snapshot]):
    """Tells when something has ended."""

    ended = asyncio.Event()

    def append(self, snapshot: Snapshot) -> None:
        super().append(snapshot)
        if snapshot.succeeded:
            self.ended.set()


async def test_snapshots_begin_when_the_runner_does(monkeypatch: pytest.MonkeyPatch) -> None:
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
    async with asyncio.timeout(10):  # it does not end at a runner that refuses
        await refused.wait()
    async with runner, asyncio.timeout(10):
        runner.submit(print, end="")
        await snapshots.ended.wait()
    sampling.cancel()

    assert snapshots[0].queued == 0
