"""Observers: every hook, hooks that raise, and the log."""

import asyncio
import logging
import math
from contextlib import suppress
from typing import Any

import pytest

from app.tasks import (
    LoggingObserver,
    Priority,
    QueueFull,
    Retry,
    TaskInfo,
    TaskObserver,
    TaskRunner,
    TaskSettings,
)
from tests.tasks.gate import Gate

from .recorder import Recorder
from .virtual_time import ON_VIRTUAL_TIME, advance, settle

pytestmark = ON_VIRTUAL_TIME


class FaultError(Exception):
    """Raised by the tasks of these tests."""


async def fail() -> None:
    raise FaultError


async def everything_once(runner: TaskRunner) -> None:
    """Cause a call of every hook."""
    runner.submit(settle)
    runner.submit(fail)
    runner.options(retry=Retry(attempts=2, delay=0)).submit(fail)
    runner.options(timeout=1).submit(advance, 10)
    runner.cancel(runner.options(delay=1).submit(settle))
    await runner.join(60)
    runner.options(delay=1).submit(settle)
    for _ in range(runner.settings.queue_size):
        with suppress(QueueFull):
            runner.options(delay=1).submit(settle)
    await runner.join(60)


class Broken(TaskObserver):
    """Raises in every hook."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def _raise(self, info: TaskInfo) -> None:  # noqa: ARG002 - a hook of TaskObserver
        raise self.error

    queued = started = retried = succeeded = failed = timed_out = cancelled = rejected = _raise


@pytest.mark.parametrize("error", [ValueError("broken observer"), SystemExit(1)])
async def test_an_observer_that_raises_does_no_harm(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = Recorder(), Recorder()
    settings = TaskSettings(queue_size=20)
    async with TaskRunner(settings, [before, Broken(error), after]) as runner:
        await everything_once(runner)
        assert runner._capacity.reserved == 0
    assert before.events == after.events
    hooks = {"queued", "started", "retried", "succeeded"}
    assert set(after.hooks) == hooks | {"failed", "timed_out", "cancelled", "rejected"}
    assert (after.waiting, after.running) == (0, 0)
    broken = [record for record in caplog.records if record.exc_info]
    assert len(broken) == len(after.events)
    assert "failed for task fail" in caplog.text


async def test_the_task_info_describes_the_run(recorder: Recorder) -> None:
    async with TaskRunner(TaskSettings(max_concurrency=1), [recorder]) as runner:
        runner.submit(advance, 3)
        task_id = runner.submit(advance, 2, priority=7)
    info = recorder.infos[1]
    assert (info.id, info.name, info.priority) == (task_id, "advance", 7)
    assert (info.attempt, info.state, info.error, info.retry_in) == (1, "succeeded", None, None)
    assert info.wait == pytest.approx(3)
    assert info.duration == pytest.approx(2)


async def test_the_wait_is_zero_before_the_start() -> None:
    waits: list[float] = []

    class Watch(TaskObserver):
        def queued(self, info: TaskInfo) -> None:
            waits.append(info.wait)

    async with TaskRunner(TaskSettings(), [Watch()]) as runner:
        runner.submit(settle)
    assert waits == [0.0]


async def test_a_delay_does_not_count_as_wait(recorder: Recorder) -> None:
    async with TaskRunner(TaskSettings(), [recorder]) as runner:
        runner.options(delay=10).submit(settle)
    assert recorder.infos[0].wait == pytest.approx(0)


async def test_the_snapshot_lists_running_and_queued_tasks(gate: Gate) -> None:
    async with TaskRunner(TaskSettings(max_concurrency=1)) as runner:
        first = runner.submit(gate.hold, priority=3)
        await advance(2)
        second = runner.submit(gate.hold)
        await advance(3)
        snapshot = runner.snapshot()
        assert (snapshot.queued, snapshot.running) == (1, 1)
        rows = [(t.id, t.name, t.priority, t.state, t.attempt) for t in snapshot.tasks]
        assert rows == [
            (first, "Gate.hold", 3, "running", 1),
            (second, "Gate.hold", 5, "queued", 0),
        ]
        assert [task.age for task in snapshot.tasks] == [pytest.approx(5), pytest.approx(3)]
        gate.open()
        await runner.join(5)
        assert runner.snapshot().tasks == ()
        assert runner.snapshot().succeeded == 2


async def test_failures_are_logged_without_observers(caplog: pytest.LogCaptureFixture) -> None:
    async with TaskRunner(TaskSettings()) as runner:
        task_id = runner.submit(fail)
        runner.options(timeout=1).submit(advance, 10)
    first, second = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert first.getMessage() == f"task fail ({task_id}) failed"
    assert first.exc_info
    assert first.exc_info[0] is FaultError
    assert second.getMessage().endswith("timed_out")


async def test_the_logging_observer_logs_every_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="app.tasks")
    async with TaskRunner(TaskSettings(queue_size=20), [LoggingObserver()]) as runner:
        await everything_once(runner)
    lines = {(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records}
    assert lines >= {
        ("DEBUG", "task started"),
        ("DEBUG", "task succeeded"),
        ("WARNING", "task will be retried"),
        ("ERROR", "task failed"),
        ("ERROR", "task timed out"),
        ("WARNING", "task cancelled"),
        ("WARNING", "task rejected"),
    }
    (failed, *_) = [r for r in caplog.records if r.getMessage() == "task failed"]
    assert failed.exc_info
    assert failed.exc_info[0] is FaultError
    assert vars(failed)["task"] == "fail"
    assert len(vars(failed)["task_id"]) == 32
    (retried,) = [r for r in caplog.records if r.getMessage() == "task will be retried"]
    assert (vars(retried)["retry_in"], vars(retried)["attempt"]) == (0, 1)
    assert retried.exc_info is None  # one line without a traceback
    assert vars(retried)["cause"].startswith("FaultError")
    (rejected, *_) = [r for r in caplog.records if r.getMessage() == "task rejected"]
    assert vars(rejected)["cause"].endswith("queue is full (TASKS_QUEUE_SIZE=20)")


def test_logged_durations_are_rounded(caplog: pytest.LogCaptureFixture) -> None:
    info = TaskInfo("id", "name", Priority.NORMAL)
    info.duration = 0.016202014998270897
    LoggingObserver(logging.ERROR).succeeded(info)
    (record,) = caplog.records
    assert vars(record)["duration"] == 0.0162


def _async(error: BaseException) -> Any:
    async def raises() -> None:
        raise error

    return raises


def _sync(error: BaseException) -> Any:
    def raises() -> None:
        raise error

    return raises


@pytest.mark.parametrize("kind", [_async, _sync])
@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        StopIteration(1),
        StopAsyncIteration(),
        TimeoutError(),
        RecursionError(),
        BaseException(),
        BaseExceptionGroup("several", [ValueError(), SystemExit()]),
    ],
)
async def test_any_exception_fails_only_the_task_that_raised_it(
    kind: Any, error: BaseException, recorder: Recorder
) -> None:
    async with TaskRunner(TaskSettings(max_concurrency=1), [recorder]) as runner:
        runner.options(timeout=math.inf).submit(kind(error))
        await runner.join()
        runner.submit(settle)
    assert recorder.hooks[2] == "failed"
    assert recorder.hooks[-1] == "succeeded"
    # Python itself turns a StopIteration that leaves a coroutine into a RuntimeError.
    raised = recorder.errors[0]
    assert raised is error or error in (raised.__cause__, raised.__context__)


async def test_a_task_that_raises_cancelled_error_itself_has_failed(recorder: Recorder) -> None:
    async with TaskRunner(TaskSettings(), [recorder]) as runner:
        runner.submit(_async(asyncio.CancelledError()))
    assert recorder.hooks == ["queued", "started", "failed"]
