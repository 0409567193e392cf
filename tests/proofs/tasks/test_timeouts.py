"""Timeouts of async tasks and of sync functions, whose threads cannot be stopped."""

import asyncio
import math
import threading

import pytest

from app.tasks import Retry, TaskRunner, TaskSettings, task

from .recorder import Recorder
from .virtual_time import ON_VIRTUAL_TIME, advance, settle

pytestmark = ON_VIRTUAL_TIME


async def test_a_timeout_cancels_an_async_task(engine: TaskRunner, recorder: Recorder) -> None:
    cleaned_up: list[float] = []
    began = asyncio.get_running_loop().time()

    async def hangs() -> None:
        try:
            await advance(3600)
        finally:
            cleaned_up.append(asyncio.get_running_loop().time() - began)

    engine.options(timeout=5).submit(hangs)
    await engine.join(60)
    assert cleaned_up == [pytest.approx(5, abs=0.01)]
    assert recorder.hooks == ["queued", "started", "timed_out"]
    assert str(recorder.errors[0]).endswith("hangs took longer than 5 s")
    assert isinstance(recorder.errors[0], TimeoutError)
    assert recorder.infos[0].duration == pytest.approx(5, abs=0.01)
    snapshot = engine.snapshot()
    assert (snapshot.timed_out, snapshot.failed, snapshot.running) == (1, 1, 0)


async def test_concurrent_tasks_each_have_their_own_timeout(engine: TaskRunner) -> None:
    ended: dict[int, float] = {}
    began = asyncio.get_running_loop().time()

    async def hangs(label: int) -> None:
        try:
            await advance(3600)
        finally:
            ended[label] = asyncio.get_running_loop().time() - began

    for label, seconds in enumerate((5, 3, 5, 1, 8, 3)):
        engine.options(timeout=seconds).submit(hangs, label)
    await advance(2)
    engine.options(timeout=5).submit(hangs, 6)
    await engine.join(60)
    expected = {0: 5, 1: 3, 2: 5, 3: 1, 4: 8, 5: 3, 6: 7}
    assert ended == {label: pytest.approx(at, abs=0.02) for label, at in expected.items()}


async def test_timeouts_of_ended_tasks_leave_few_timers(engine: TaskRunner) -> None:
    for number in range(500):
        engine.options(timeout=1000 + number).submit(settle)
    await engine.join(60)
    assert len([timer for timer in _timers() if not timer.cancelled()]) < 150


def _timers() -> list[asyncio.TimerHandle]:
    return asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined, no-any-return]  # asyncio has no public way


@pytest.mark.parametrize("seconds", [math.inf, 7200.0])
async def test_a_task_within_a_long_timeout_is_not_cancelled(
    engine: TaskRunner, seconds: float
) -> None:
    engine.options(timeout=seconds).submit(advance, 3600)
    await engine.join(4000)
    assert engine.snapshot().succeeded == 1


async def test_the_timeout_of_the_call_overrides_task_and_settings(recorder: Recorder) -> None:
    @task(timeout=20)
    async def hangs() -> None:
        await advance(3600)

    settings = TaskSettings(default_timeout=10, drain_timeout=60)
    async with TaskRunner(settings, [recorder]) as runner:
        runner.submit(advance, 3600)
        runner.submit(hangs)
        runner.options(timeout=30).submit(hangs)
    durations = [info.duration for info in recorder.infos]
    assert durations == [pytest.approx(at, abs=0.01) for at in (10, 20, 30)]


async def test_a_task_that_swallows_its_cancellation_has_still_timed_out(
    engine: TaskRunner, recorder: Recorder
) -> None:
    async def stubborn() -> None:
        try:
            await advance(3600)
        except asyncio.CancelledError:
            await advance(2)

    engine.options(timeout=5).submit(stubborn)
    await engine.join(60)
    assert recorder.hooks[-1] == "timed_out"


async def test_a_timeout_error_of_the_task_itself_is_a_failure(
    engine: TaskRunner, recorder: Recorder
) -> None:
    async def gives_up() -> None:
        async with asyncio.timeout(1):
            await advance(3600)

    engine.submit(gives_up)
    await engine.join(60)
    assert recorder.hooks[-1] == "failed"
    assert isinstance(recorder.errors[0], TimeoutError)


async def test_time_in_the_queue_does_not_count_towards_the_timeout() -> None:
    async with TaskRunner(TaskSettings(max_concurrency=1)) as runner:
        for _ in range(5):
            runner.options(timeout=15).submit(advance, 10)
        await runner.join(60)
        assert runner.snapshot().succeeded == 5


async def test_a_sync_function_that_times_out_keeps_its_slots_until_it_returns(
    recorder: Recorder,
) -> None:
    started, release = threading.Event(), threading.Event()
    ran: list[str] = []

    @task(timeout=5, max_concurrency=1, retry=Retry(on=(TimeoutError,)))
    def hangs(label: str) -> None:
        ran.append(label)
        started.set()
        release.wait(5)

    settings = TaskSettings(max_concurrency=3, max_threads=2)
    async with TaskRunner(settings, [recorder]) as runner:
        runner.submit(hangs, "first")
        runner.options(timeout=math.inf).submit(hangs, "second")
        await settle()
        assert started.wait(5)  # in real time, while virtual time stands still
        await advance(100)
        # Observers hear of the timeout at once. No retry: it would run beside the first run.
        assert recorder.names("timed_out") == [hangs.name]
        assert recorder.names("retried") == []
        assert ran == ["first"]
        assert (runner.snapshot().running, runner.snapshot().queued) == (0, 1)
        assert (runner._dispatcher and runner._dispatcher.free_slots) == 2
        release.set()
        await runner.join()
    assert ran == ["first", "second"]
    assert recorder.hooks[-1] == "succeeded"


async def test_a_sync_function_with_an_infinite_timeout_runs(engine: TaskRunner) -> None:
    engine.options(timeout=math.inf).submit(threading.get_ident)
    await engine.join()
    assert engine.snapshot().succeeded == 1


async def test_a_sync_function_that_fails_after_its_timeout_has_timed_out(
    engine: TaskRunner, recorder: Recorder
) -> None:
    release = threading.Event()

    def fails_late() -> None:
        release.wait(5)
        raise ValueError

    engine.options(timeout=5).submit(fails_late)
    await advance(10)
    release.set()
    await engine.join()
    assert recorder.hooks == ["queued", "started", "timed_out"]
