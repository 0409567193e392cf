"""What is remembered of runs and failures, and how much of it."""

import asyncio
from collections import deque

import pytest

from app.features.dashboard import activity as module
from app.features.dashboard.activity import (
    INTERVAL,
    MAX_FAILURES,
    MAX_RUNS,
    SPAN,
    RecentActivity,
)
from app.tasks import (
    Priority,
    Retry,
    RunnerClosed,
    Snapshot,
    TaskInfo,
    TaskRunner,
    TaskSettings,
    TaskState,
    task,
)

from .snapshots import snapshot


@pytest.fixture
def activity() -> RecentActivity:
    return RecentActivity()


def make_runner(activity: RecentActivity) -> TaskRunner:
    return TaskRunner(TaskSettings(queue_size=10_000), [activity])


async def test_runs_and_failures(activity: RecentActivity) -> None:
    @task(name="sometimes", retry=Retry(attempts=2, delay=0))
    async def sometimes(good: bool) -> None:
        if not good:
            raise ValueError("password=hunter2")

    async with make_runner(activity) as runner:
        runner.submit(sometimes, good=True)
        await runner.join(5)
        failing = runner.submit(sometimes, good=False)
        await runner.join(5)
    runs = activity.runs()
    first, latest = activity.failures
    traceback = latest.traceback or ""

    assert [(run.name, run.failed) for run in runs] == [
        ("sometimes", failed) for failed in (False, True, True)
    ]
    assert all(0 <= run.wait < 5 and 0 <= run.duration < 5 for run in runs)
    assert (first.id, first.attempts, first.state) == (failing, 1, TaskState.QUEUED)
    assert (latest.id, latest.attempts, latest.state) == (failing, 2, TaskState.FAILED)
    assert latest.error == "ValueError: password=***"
    assert "hunter2" not in traceback
    assert "in sometimes" in traceback
    assert traceback.endswith("ValueError: password=***")


async def test_a_timeout_is_a_failure_and_a_cancellation_is_none(activity: RecentActivity) -> None:
    @task(timeout=0.01)
    async def slow() -> None:
        await asyncio.Event().wait()

    async with make_runner(activity) as runner:
        runner.submit(slow)
        await runner.join(5)
        runner.cancel(runner.options(delay=100).submit(slow))
        await runner.join(5)

    assert [failure.state for failure in activity.failures] == [TaskState.TIMED_OUT]
    assert len(activity.runs()) == 1


async def test_memory_is_bounded(activity: RecentActivity) -> None:
    async def fail(n: int) -> None:
        raise ValueError(n)

    async with make_runner(activity) as runner:
        for n in range(2100):
            runner.submit(print, end="") if n % 10 else runner.submit(fail, n)
        await runner.join(20)

        for _ in range(1000):
            activity.snapshots.append(snapshot({}))

    assert len(activity.runs()) == MAX_RUNS
    assert len(activity.snapshots) == SPAN / INTERVAL
    assert len(activity.failures) == MAX_FAILURES
    assert activity.failures[-1].error == "ValueError: 2090"


async def test_what_is_long_ago_is_forgotten(
    activity: RecentActivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_runner(activity) as runner:
        runner.submit(print, end="")
        await runner.join(5)
    assert len(activity.runs()) == 1
    monkeypatch.setattr(module, "SPAN", -1)

    assert activity.runs() == []


class Snapshots(deque[Snapshot]):
    """Tells when something has ended."""

    ended = asyncio.Event()

    def append(self, snapshot: Snapshot) -> None:
        super().append(snapshot)
        if snapshot.succeeded:
            self.ended.set()


async def test_snapshots_begin_when_the_runner_does_and_count_from_the_start(
    activity: RecentActivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0)
    activity.snapshots = Snapshots()
    runner = make_runner(activity)
    refused, take = asyncio.Event(), runner.snapshot

    def take_or_refuse(limit: int | None = None) -> Snapshot:
        try:
            return take(limit)
        except RunnerClosed:
            refused.set()
            raise

    monkeypatch.setattr(runner, "snapshot", take_or_refuse)
    sampling = asyncio.create_task(activity.sample(runner))
    async with asyncio.timeout(10):  # it does not end at a runner that refuses
        await refused.wait()
    async with runner, asyncio.timeout(10):
        runner.submit(print, end="")
        await activity.snapshots.ended.wait()
    sampling.cancel()

    first = activity.snapshots[0]
    assert [one.succeeded for one in activity.until(first)[:2]] == [0, first.succeeded]


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError


def recurse(depth: int) -> None:
    if depth == 0:
        raise ValueError("<&'\">" * 50_000)
    recurse(depth - 1)


def raised(depth: int) -> BaseException:
    try:
        recurse(depth)
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [
        Unprintable(),
        raised(0),
        raised(500),
        ValueError("\n".join("<line>" * 9 for _ in range(5000))),
        ValueError("\0\ud800"),
        ValueError("/" * 100_000),
        ExceptionGroup("many", [ValueError(f"{n}" * 300) for n in range(500)]),
    ],
)
def test_a_traceback_is_text_of_bounded_size(
    activity: RecentActivity, error: BaseException
) -> None:
    info = TaskInfo("id", "bad", Priority.NORMAL)
    info.error = error
    activity.failed(info)
    (failure,) = activity.failures
    traceback = failure.traceback or ""

    assert 0 < len(traceback.encode()) <= 20_000 * 1.1
    assert "\0" not in traceback
