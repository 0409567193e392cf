"""Cancelling queued, delayed, throttled, retrying, starting, running and ended tasks."""

import asyncio
import threading

import pytest

from app.tasks import Retry, TaskInfo, TaskRunner, TaskSettings, current_runner, task
from tests.tasks.gate import Gate

from .recorder import Recorder
from .virtual_time import ON_VIRTUAL_TIME, advance, settle

pytestmark = ON_VIRTUAL_TIME


async def assert_everything_is_released(runner: TaskRunner, recorder: Recorder) -> None:
    await runner.join(60)
    assert (recorder.waiting, recorder.running) == (0, 0)
    assert runner._capacity.reserved == 0
    assert runner._dispatcher is not None
    assert runner._dispatcher.free_slots == runner.settings.max_concurrency


async def test_a_queued_task_is_cancelled(gate: Gate, recorder: Recorder) -> None:
    async with TaskRunner(TaskSettings(max_concurrency=1), [recorder]) as runner:
        runner.submit(gate.hold, "first")
        second = runner.submit(gate.hold, "second")
        runner.submit(gate.hold, "third")
        assert runner.cancel(second) is True
        assert runner.cancel(second) is False
        gate.open()
        await assert_everything_is_released(runner, recorder)
        assert runner.snapshot().cancelled == 1
    assert gate.left == ["first", "third"]
    assert recorder.infos[1].duration is None


async def test_cancelled_tasks_leave_the_queue_at_once(gate: Gate, recorder: Recorder) -> None:
    @task(max_concurrency=1)
    async def narrow() -> None:
        await gate.hold()

    async with TaskRunner(TaskSettings(max_concurrency=2), [recorder]) as runner:
        assert runner._dispatcher is not None
        queue = runner._dispatcher.queue
        runner.submit(narrow)
        throttled = [runner.submit(narrow) for _ in range(100)]
        runner.submit(gate.hold)
        queued = [runner.submit(gate.hold) for _ in range(100)]
        for number, task_id in enumerate(queued + throttled):
            assert sum(len(group.waiting) for group in queue._waiting) == 200 - number
            assert runner.cancel(task_id)
        assert not queue._waiting
        gate.open()
        await assert_everything_is_released(runner, recorder)
    assert len(gate.left) == 2


async def test_a_delayed_task_is_cancelled_with_its_timer(
    engine: TaskRunner, recorder: Recorder, gate: Gate
) -> None:
    task_id = engine.options(delay=10).submit(gate.hold)
    assert engine.cancel(task_id) is True
    timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]  # asyncio has no public way
    assert [timer for timer in timers if not timer.cancelled()] == []
    await advance(20)
    assert gate.entered == []
    await assert_everything_is_released(engine, recorder)


async def test_a_task_awaiting_a_retry_is_cancelled(engine: TaskRunner, recorder: Recorder) -> None:
    @task(retry=Retry(delay=100))
    async def fails() -> None:
        raise ValueError

    task_id = engine.submit(fails)
    await settle()
    assert engine.cancel(task_id) is True
    await assert_everything_is_released(engine, recorder)
    assert recorder.hooks == ["queued", "started", "retried", "cancelled"]
    assert [type(error) for error in recorder.errors] == [ValueError]  # raised by its last run


async def test_a_task_is_cancelled_before_its_first_step(
    engine: TaskRunner, recorder: Recorder, gate: Gate
) -> None:
    for func in (gate.hold, threading.get_ident):
        task_id = engine.submit(func)
        assert engine.snapshot().running == 1
        assert engine.cancel(task_id) is True
        await assert_everything_is_released(engine, recorder)
    assert gate.entered == []
    assert recorder.hooks == ["queued", "cancelled"] * 2


async def test_a_running_task_is_cancelled(
    engine: TaskRunner, recorder: Recorder, gate: Gate
) -> None:
    task_id = engine.submit(gate.hold)
    await gate.holds(1)
    assert engine.cancel(task_id) is True
    assert engine.cancel(task_id) is False
    await assert_everything_is_released(engine, recorder)
    assert recorder.hooks == ["queued", "started", "cancelled"]
    assert gate.inside == 0


async def test_a_cancelled_task_may_clean_up_for_longer_than_its_timeout(
    engine: TaskRunner, recorder: Recorder
) -> None:
    cleaned_up = asyncio.Event()

    @task(timeout=5, retry=Retry(delay=0))
    async def slow_to_stop() -> None:
        try:
            await advance(100)
        finally:
            await advance(100)
            cleaned_up.set()

    task_id = engine.submit(slow_to_stop)
    await advance(1)
    assert engine.cancel(task_id) is True
    await engine.join()
    assert cleaned_up.is_set()
    assert recorder.hooks == ["queued", "started", "cancelled"]


async def test_a_timed_out_task_that_is_cancelled_while_it_cleans_up_is_not_retried(
    engine: TaskRunner, recorder: Recorder
) -> None:
    @task(timeout=5, retry=Retry(delay=0))
    async def slow_to_stop() -> None:
        try:
            await advance(100)
        finally:
            await advance(100)

    task_id = engine.submit(slow_to_stop)
    await advance(6)
    assert engine.cancel(task_id) is True
    await assert_everything_is_released(engine, recorder)
    assert recorder.hooks == ["queued", "started", "cancelled"]


async def test_a_cancelled_task_that_returns_normally_is_cancelled(
    engine: TaskRunner, recorder: Recorder
) -> None:
    async def stubborn() -> None:
        try:
            await advance(100)
        except asyncio.CancelledError:
            return

    task_id = engine.submit(stubborn)
    await settle()
    engine.cancel(task_id)
    await assert_everything_is_released(engine, recorder)
    assert recorder.hooks[-1] == "cancelled"


async def test_a_running_sync_function_cannot_be_cancelled(
    engine: TaskRunner, recorder: Recorder
) -> None:
    release = threading.Event()
    task_id = engine.options(timeout=float("inf")).submit(release.wait, 5)
    await settle()
    assert engine.cancel(task_id) is False
    release.set()
    await engine.join()
    assert recorder.hooks[-1] == "succeeded"


async def test_ended_and_unknown_tasks_cannot_be_cancelled(engine: TaskRunner, gate: Gate) -> None:
    gate.open()
    task_id = engine.submit(gate.hold)
    await engine.join(5)
    assert engine.cancel(task_id) is False
    assert engine.cancel("nonsense") is False


async def test_cancelling_the_next_throttled_task_lets_the_one_behind_it_start(gate: Gate) -> None:
    @task(max_concurrency=1)
    async def narrow(seconds: float) -> None:
        await advance(seconds)

    async with TaskRunner(TaskSettings(max_concurrency=2)) as runner:
        runner.submit(narrow, 5)
        await settle()
        second = runner.submit(narrow, 1)  # this one and the next wait for the first
        runner.submit(narrow, 1)
        runner.submit(gate.hold)
        runner.submit(gate.hold, priority=0)
        await advance(6)
        # The first has ended. A more urgent task took its slot, so the second still waits.
        assert len(gate.entered) == 2
        assert runner.cancel(second) is True
        gate.open()
        await runner.join(10)
        assert runner.snapshot().succeeded == 4


async def test_a_task_can_cancel_itself(engine: TaskRunner, recorder: Recorder) -> None:
    async def cancels_itself() -> None:
        assert current_runner().cancel(recorder.infos[0].id) is True
        await advance(100)

    engine.submit(cancels_itself)
    await assert_everything_is_released(engine, recorder)
    assert recorder.hooks[-1] == "cancelled"


@pytest.mark.parametrize("hook", ["queued", "started", "retried", "failed"])
async def test_an_observer_can_cancel_a_task_before_it_has_ended(hook: str) -> None:
    answers: list[bool] = []
    recorder = Recorder()

    class Canceller(Recorder):
        def _note(self, event: str, info: TaskInfo) -> None:
            if event == hook:
                answers.append(runner.cancel(info.id))

    @task(retry=Retry(attempts=2, delay=0))
    async def fails() -> None:
        raise ValueError

    async with TaskRunner(TaskSettings(), [recorder, Canceller()]) as runner:
        runner.submit(fails)
        await assert_everything_is_released(runner, recorder)
    assert answers == [hook != "failed"]
    assert recorder.hooks[-1] == ("failed" if hook == "failed" else "cancelled")


async def test_an_observer_can_cancel_a_task_submitted_during_the_drain() -> None:
    class Canceller(Recorder):
        def queued(self, info: TaskInfo) -> None:
            if info.name == "late":
                assert runner.cancel(info.id)

    late = task(name="late")(advance)

    async def submits() -> None:
        await advance(1)
        current_runner().options(delay=100).submit(late, 1)

    recorder = Recorder()
    async with TaskRunner(TaskSettings(drain_timeout=5), [recorder, Canceller()]) as runner:
        runner.submit(submits)
        await settle()
    assert recorder.hooks[-2:] == ["succeeded", "cancelled"]
    await assert_everything_is_released(runner, recorder)


async def test_the_cancelled_hook_runs_in_the_context_of_the_task(gate: Gate) -> None:
    runners: list[TaskRunner] = []

    class Watch(Recorder):
        def cancelled(self, _: TaskInfo) -> None:
            runners.append(current_runner())

    async with TaskRunner(TaskSettings(max_concurrency=1), [Watch()]) as runner:
        running, queued = runner.submit(gate.hold), runner.submit(gate.hold)
        await gate.holds(1)
        runner.cancel(queued)
        runner.cancel(running)
    assert runners == [runner, runner]
