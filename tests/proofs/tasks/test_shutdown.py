"""Start and shutdown of a runner: which tasks are refused, drained, cancelled and logged."""

import asyncio
import logging
import threading
from contextlib import suppress
from typing import Any

import pytest

from app.tasks import (
    LoggingObserver,
    Retry,
    RunnerClosed,
    TaskRunner,
    TaskSettings,
    TaskState,
    current_runner,
    task,
)
from app.tasks.job import Job, Stop
from app.tasks.options import NO_OPTIONS, Call
from app.tasks.task import PlainTask
from app.tasks.testing import run_waiting
from tests.tasks.gate import Gate

from .recorder import Recorder
from .virtual_time import ON_VIRTUAL_TIME, advance, settle

pytestmark = ON_VIRTUAL_TIME


async def test_a_runner_refuses_every_call_before_its_start() -> None:
    runner = TaskRunner(TaskSettings())
    assert not runner.accepting
    with pytest.raises(RuntimeError, match="has not been started: use `async with runner:`"):
        runner.submit(settle)
    for waiting in (runner.join(), runner.pause("x"), runner.resume("x"), runner.limit("x")):
        with pytest.raises(RunnerClosed, match="has not been started"):
            await waiting
    for call in (runner.snapshot, runner.types, lambda: runner.cancel("x")):
        with pytest.raises(RunnerClosed, match="has not been started"):
            call()


async def test_a_closed_runner_refuses_tasks() -> None:
    async with TaskRunner(TaskSettings()) as runner:
        assert runner.accepting
    assert not runner.accepting
    with pytest.raises(RuntimeError, match="has been closed"):
        runner.submit(settle)


async def test_a_runner_can_be_started_only_once() -> None:
    async with TaskRunner(TaskSettings()) as runner:
        with pytest.raises(RunnerClosed, match="started twice"):
            await runner.__aenter__()
    with pytest.raises(RunnerClosed, match="started twice"):
        await runner.__aenter__()


async def test_queued_delayed_retrying_and_running_tasks_are_drained(recorder: Recorder) -> None:
    attempts: list[int] = []

    @task(retry=Retry(attempts=3, delay=5))
    async def flaky() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise ValueError

    settings = TaskSettings(max_concurrency=2, drain_timeout=100)
    async with TaskRunner(settings, [recorder]) as runner:
        for _ in range(10):
            runner.submit(advance, 1)
        runner.options(delay=30).submit(settle)
        runner.submit(flaky)
    assert recorder.hooks.count("succeeded") == 12
    assert (recorder.waiting, recorder.running) == (0, 0)


async def test_a_drain_refuses_all_tasks_except_those_of_running_tasks() -> None:
    refused: list[str] = []
    done: list[str] = []
    runner = TaskRunner(TaskSettings())

    async def outsider() -> None:
        await advance(1)
        with pytest.raises(RunnerClosed, match="is shutting down"):
            runner.submit(settle)
        refused.append("outsider")

    async def parent() -> None:
        await advance(2)
        current_runner().submit(child)

    async def child() -> None:
        current_runner().submit(grandchild)

    async def grandchild() -> None:
        done.append("grandchild")

    async with asyncio.TaskGroup() as group:
        group.create_task(outsider())
        async with runner:
            runner.submit(parent)
    assert refused == ["outsider"]
    assert done == ["grandchild"]


async def test_tasks_left_after_the_drain_are_cancelled_and_named(
    recorder: Recorder, caplog: pytest.LogCaptureFixture, gate: Gate
) -> None:
    @task(name="limited", max_concurrency=1)
    async def limited() -> None:
        await gate.hold()

    caplog.set_level(logging.INFO)
    settings = TaskSettings(max_concurrency=2, drain_timeout=3)
    async with TaskRunner(settings, [recorder]) as runner:
        ids = [runner.submit(limited), runner.submit(limited), runner.submit(limited)]
        ids += [runner.submit(gate.hold), runner.submit(settle)]
        ids += [runner.options(delay=100).submit(settle)]
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)
    assert recorder.hooks.count("cancelled") == 6
    assert recorder.hooks.count("started") == 2
    assert (recorder.waiting, recorder.running) == (0, 0)
    assert runner._capacity.reserved == 0
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    message = record.getMessage()
    assert message.startswith("6 tasks were cancelled by the shutdown: ")
    assert message.count("limited (") == 3
    assert "the shutdown waits for 5 tasks" in caplog.text  # and not for the delayed one
    assert all(task_id in message for task_id in ids)


async def test_end_drain_cancels_at_once_what_a_shutdown_waits_for(recorder: Recorder) -> None:
    loop = asyncio.get_running_loop()
    async with TaskRunner(TaskSettings(drain_timeout=3600), [recorder]) as runner:
        runner.submit(advance, 100)
        runner.end_drain()  # no shutdown has begun
        await settle()
        assert recorder.hooks == ["queued", "started"]
        for _ in range(2):
            loop.call_later(5, runner.end_drain)
        began = loop.time()
    assert loop.time() - began == pytest.approx(5, abs=0.1)
    runner.end_drain()  # the shutdown is over
    assert recorder.hooks == ["queued", "started", "cancelled"]


async def test_end_drain_after_a_cancelled_drain_does_nothing() -> None:
    async with TaskRunner(TaskSettings(drain_timeout=3)) as runner:
        runner.submit(advance, 2)
        assert runner._dispatcher is not None
        draining = asyncio.create_task(runner._dispatcher.drain(3600))
        await settle()
        draining.cancel()
        await settle()
        runner.end_drain()
        assert runner.snapshot().running == 1


async def test_tasks_over_their_rate_limit_do_not_delay_the_shutdown(recorder: Recorder) -> None:
    @task(rate_limit="1/hour")
    async def rare() -> None: ...

    async with TaskRunner(TaskSettings(drain_timeout=100), [recorder]) as runner:
        for _ in range(3):
            runner.submit(rare)
        await settle()
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 1
    assert recorder.hooks.count("cancelled") == 2


async def test_only_the_first_twenty_cancelled_tasks_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with TaskRunner(TaskSettings(drain_timeout=0)) as runner:
        ids = [runner.options(delay=1).submit(settle) for _ in range(25)]
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    message = record.getMessage()
    assert message.startswith("25 tasks were cancelled by the shutdown: settle (")
    assert message.endswith(f"settle ({ids[19]})")


async def test_a_drain_timeout_of_zero_cancels_all_tasks_at_once(recorder: Recorder) -> None:
    async with TaskRunner(TaskSettings(drain_timeout=0), [recorder]) as runner:
        runner.submit(advance, 100)
        runner.options(delay=1).submit(settle)
    assert sorted(recorder.hooks) == ["cancelled", "cancelled", "queued", "queued", "started"]


async def test_cancelled_tasks_get_time_to_clean_up(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    async def tidy() -> None:
        try:
            await advance(100)
        finally:
            await advance(1)
            done.append("tidy")

    async def too_slow() -> None:
        try:
            await advance(100)
        finally:
            await advance(10)

    async with TaskRunner(TaskSettings(drain_timeout=1)) as runner:
        runner.submit(tidy)
        runner.submit(too_slow)
    assert done == ["tidy"]
    assert "1 cancelled tasks did not stop" in caplog.text
    await advance(20)


async def test_a_cancelled_task_that_goes_on_is_cancelled_again_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    released = threading.Event()

    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await advance(100)
        await advance(100)

    async with TaskRunner(TaskSettings(drain_timeout=1)) as runner:
        ids = runner.submit(stubborn), runner.submit(released.wait, 5)
        await settle()
        assert runner.cancel(ids[0])
        assert runner._dispatcher is not None
        assert not runner._dispatcher.cancel(ids[1], Stop.LOST)  # its thread cannot be stopped
        await settle()
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began == pytest.approx(1, abs=0.1)
    assert all(caplog.text.count(task_id) == 1 for task_id in ids)
    released.set()


async def test_a_task_whose_end_is_being_recorded_is_not_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class SlowRecorder:
        async def record(self, *_: Any) -> None:
            await advance(1)

    async with TaskRunner(TaskSettings(drain_timeout=0)) as runner:
        job = Job("1", PlainTask(settle), ((), {}), NO_OPTIONS, 60)
        job.recorder = SlowRecorder()
        assert runner._dispatcher is not None
        runner._dispatcher.enqueue(job)
        await settle()
        await settle()
        assert job.asyncio_task is None
    assert job.state is TaskState.SUCCEEDED
    assert "cancelled" not in caplog.text


async def test_a_cancelled_task_cannot_submit_tasks(recorder: Recorder) -> None:
    async def submits_at_the_end() -> None:
        try:
            await advance(100)
        finally:
            current_runner().submit(settle)

    async with TaskRunner(TaskSettings(drain_timeout=1), [recorder]) as runner:
        runner.submit(submits_at_the_end)
    assert recorder.hooks == ["queued", "started", "cancelled"]
    assert isinstance(recorder.errors[0], RunnerClosed)


async def test_a_task_enqueued_after_the_shutdown_is_cancelled_and_named(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """A request or a thread reserved capacity before the shutdown, and enqueues after it."""
    async with TaskRunner(TaskSettings(), [recorder, LoggingObserver()]) as runner:
        submission = runner.reserve(Call(settle, (), {}))
    submission.enqueue()
    await settle()
    assert recorder.hooks == ["queued", "cancelled"]
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert record.getMessage() == "task cancelled"
    assert (vars(record)["task"], vars(record)["task_id"]) == ("settle", submission.id)
    assert runner._capacity.reserved == 0
    await runner.join(1)


async def test_a_task_enqueued_while_the_poller_stops_is_cancelled(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shutdown no longer waits for tasks, and closes their resources next."""

    class SlowPoller:
        def stop_claiming(self) -> None: ...

        async def stop(self) -> None:
            submission.enqueue()
            await advance(1)

    async with TaskRunner(TaskSettings(), [recorder]) as runner:
        submission = runner.reserve(Call(advance, (100,), {}))
        monkeypatch.setattr(runner, "_poller", SlowPoller())
    assert recorder.hooks == ["queued", "cancelled"]


async def test_tasks_submitted_by_threads_are_drained(recorder: Recorder) -> None:
    async with TaskRunner(TaskSettings(), [recorder]) as runner:
        threads = [threading.Thread(target=runner.submit, args=(settle,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    assert recorder.hooks.count("succeeded") == 5


async def test_join_waits_for_tasks_submitted_by_threads(engine: TaskRunner) -> None:
    thread = threading.Thread(target=engine.submit, args=(settle,))
    thread.start()
    thread.join(5)
    await engine.join(5)
    assert engine.snapshot().succeeded == 1


async def test_an_idle_runner_stops_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with TaskRunner(TaskSettings(drain_timeout=0)) as runner:
        await runner.join(0)
    assert caplog.text == ""


async def test_run_waiting_cancels_no_join(
    engine: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled join cuts off a statement, which SQLAlchemy logs with a traceback."""
    joins: list[str] = []
    join = engine.join

    async def noting() -> None:
        joins.append("begun")
        await join()
        joins.append("ended")

    monkeypatch.setattr(engine, "join", noting)
    engine.submit(advance, 10)
    await run_waiting(engine, 100)
    assert joins == ["begun", "ended"]


async def test_join_times_out(engine: TaskRunner, gate: Gate) -> None:
    await engine.join(0)
    engine.submit(gate.hold)
    with pytest.raises(TimeoutError):
        await engine.join(3)
    gate.open()
    await engine.join(0.1)


async def test_a_sync_function_does_not_delay_the_shutdown_for_ever(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    async with TaskRunner(TaskSettings(drain_timeout=1), [recorder]) as runner:
        runner.options(timeout=float("inf")).submit(release.wait, 5)
    assert recorder.hooks == ["queued", "started", "cancelled"]
    assert "1 tasks were cancelled by the shutdown: Event.wait" in caplog.text
    release.set()


async def test_a_runner_drains_when_its_block_raises(recorder: Recorder) -> None:
    with pytest.raises(KeyError):
        await _start_and_raise(recorder)
    assert recorder.hooks[-1] == "succeeded"


async def _start_and_raise(recorder: Recorder) -> None:
    async with TaskRunner(TaskSettings(), [recorder]) as runner:
        runner.submit(settle)
        raise KeyError
